"""How scripts are linked with the library."""

from __future__ import annotations

import re

from spool.jobs.linker import linked
from spool.jobs.scripts import script
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.spool.jobs.test_scripts import NAMES


def test_script_is_linked_with_what_it_uses() -> None:
    """A script gets the definitions that it leads to, in their order, and no others."""
    text = linked("return output_of('j') -- not unbook('j'), nor 'close'")
    assert re.findall(r"^local (?:function )?(\w+)", text, re.MULTILINE) == ["P", "job_key", "size_of", "output_of"]


def test_function_that_is_linked_by_itself() -> None:
    """What only a function with the mark uses is created within it; what is there already is not created again."""
    text = linked("local function seldom()\n  --[[LIBRARY]]\n  return json(P)\nend\nreturn P")
    assert text.count("local P") == 1
    assert text.index("local function seldom") < text.index("local function json")


def test_script_that_is_divided() -> None:
    """What only the part after a mark between statements uses is created there; all else before, and once."""
    text = linked("local early = job_key('j')\n--[[LIBRARY]]\nreturn json(job_key(early))")
    assert text.count("local function job_key") == 1
    assert text.index("local function job_key") < text.index("local early") < text.index("local function json")


def test_arguments_by_name(link: RedisLink) -> None:
    """A script gets its declared arguments as locals, as text, number or flag, and the place of its list."""
    text = linked(
        "--[[ARGUMENTS id limit:number is_last:flag\n  jobs...]]\nreturn {id, limit + 1, is_last, ARGV[jobs_at]}"
    )
    assert link.call("EVAL", text, 1, prefix(0), "j", 3, 1, "a", "b") == [b"j", 4, 1, b"a"]


def test_names_that_redis_has_from_before() -> None:
    """A field or key with another name in Redis is written and read under that name, as text and as a property."""
    text = linked("local record = {}\nrecord.history_lost = P .. 'expiring'\nreturn record['history_lost'] -- expiring")
    assert text.endswith("record.torn = P .. 'kept'\nreturn record['torn'] -- expiring")


def test_script_has_one_of_each_variable() -> None:
    """A variable of the library is one, whichever functions of a script use it."""
    for name in NAMES:
        assert script(name).text.count("local known_figures = {}\n") <= 1


def test_constant_stands_where_it_is_used() -> None:
    """A constant of the library or the script is replaced by its value, and no variable; text and comments stay."""
    text = linked(
        "local MOST_MS = 7 * 1000\nreturn {STAGING_MS, MOST_MS, 'MOST_MS', x.MOST_MS, 'a'..MOST_MS} -- MOST_MS"
    )
    assert text.strip() == "return {60000, (7 * 1000), 'MOST_MS', x.MOST_MS, 'a'..(7 * 1000)} -- MOST_MS"


def test_base_is_outside_of_the_function_with_all_else(link: RedisLink) -> None:
    """Functions other than the base's are within one function, whose answer is the script's."""
    text = linked("return json({key = job_key('j')})")
    assert text.index("local function job_key") < text.index("return (function()") < text.index("local function json")
    assert link.call("EVAL", text, 1, prefix(0)) == b'{"key":"spool:{0}:job:j"}'


def test_lazily_linked_function_captures_only_the_base() -> None:
    """What is outside of the base is created again within a lazily linked function, rather than captured by it."""
    text = linked("local function seldom()\n  --[[LIBRARY]]\n  return json(P)\nend\nreturn json(seldom())")
    assert text.count("local function json") == 2
    assert text.count("local P") == 1
