"""How scripts are linked with the library."""

from __future__ import annotations

import re

from spool.jobs.linker import LIBRARY, library_names, linked, read
from spool.jobs.scripts import script
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.spool.jobs.test_scripts import NAMES


def test_script_is_linked_with_what_it_uses(link: RedisLink) -> None:
    """A script gets the definitions that it leads to, in their order, and no others."""
    text = linked("return output_of('j') -- not unbook('j'), nor 'close'")
    assert re.findall(r"^(?:local )?(\w+) = (?!library|setmetatable|{)", text, re.MULTILINE) == [
        *("P", "job_key", "size_of", "output_of"),
    ]
    assert link.call("EVAL", text, 1, prefix(0)) == 0


def test_function_that_is_linked_by_itself(link: RedisLink) -> None:
    """What only a function with the mark uses is created when that is called; what is there already is not created
    again."""
    text = linked(
        "local function seldom()\n  --[[LIBRARY]]\n  return json(P)\nend\nif ARGV[1] then return seldom() end"
    )
    assert text.count("local P") == 1
    assert text.index("local function seldom") < text.index("json = function(value)")
    assert [link.call("EVAL", text, 1, prefix(0), *more) for more in ((), ("1",))] == [None, b'"spool:{0}:"']


def test_script_that_is_divided(link: RedisLink) -> None:
    """What only the part after a mark between statements uses is created there; all else before, and once."""
    text = linked("local early = job_key('j')\n--[[LIBRARY]]\nreturn json(job_key(early))")
    assert text.count("job_key = function") == 1
    assert text.index("job_key = function") < text.index("local early") < text.index("json = function")
    assert link.call("EVAL", text, 1, prefix(0)) == b'"spool:{0}:job:spool:{0}:job:j"'


def test_part_before_the_mark_has_all_that_it_leads_to() -> None:
    """There no function is created on its first use: also what only seldom calls need is there."""
    text = linked("index('GET', 'x')\n--[[LIBRARY]]\nreturn json(P)")
    assert text.index("notice = function") < text.index("displace = function") < text.index("library.index('GET'")
    for name in NAMES:
        early = script(name).text.split("return (function()")[0]
        created = set(re.findall(r"^(\w+) = ", early, re.MULTILINE))
        if "\n--[[LIBRARY]]\n" in read(name):
            assert set(re.findall(r"library\.(\w+)", early)) <= created, name


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
    """A variable of the library is created once, whichever functions of a script use it."""
    for name in NAMES:
        assert script(name).text.count("known_figures = {}\n") <= 1


def test_constant_stands_where_it_is_used() -> None:
    """A constant of the library or the script is replaced by its value, and no variable; text and comments stay."""
    text = linked(
        "local MOST_MS = 7 * 1000\nreturn {STAGING_MS, MOST_MS, 'MOST_MS', x.MOST_MS, 'a'..MOST_MS} -- MOST_MS"
    )
    assert text.strip() == "return {60000, (7 * 1000), 'MOST_MS', x.MOST_MS, 'a'..(7 * 1000)} -- MOST_MS"


def test_values_are_outside_of_the_function_with_all_else(link: RedisLink) -> None:
    """Functions are within one function, whose answer is the script's."""
    text = linked("return json({key = job_key('j')})")
    assert text.index("local P") < text.index("return (function()") < text.index("json = function")
    assert link.call("EVAL", text, 1, prefix(0)) == b'{"key":"spool:{0}:job:j"}'


def test_lazily_linked_function_uses_what_is_there() -> None:
    """What usual calls use is not created again for a lazily linked function."""
    text = linked("local function seldom()\n  --[[LIBRARY]]\n  return json(P)\nend\nreturn json(seldom())")
    assert text.count("json = function") == 1
    assert text.count("local P") == 1


def test_seldom_functions_are_created_on_their_first_use(link: RedisLink) -> None:
    """A declared function, and what only it leads to, is created when it is first called; its variables are there
    before, and stay."""
    body = "--[[SELDOM sum_of_all]]\nknown_figures.sum = {7}\nif ARGV[1] then return sum_of_all() end"
    text = linked(body)
    assert "SELDOM" not in text
    assert text.index("known_figures = {}") < text.index("__index") < text.index("function library.read_ledger(")
    assert [link.call("EVAL", text, 1, prefix(0), *more) for more in ((), ("1",))] == [None, [7]]


def test_names_of_functions_are_of_nothing_else() -> None:
    """No parameter and no variable of the library has the name of one of its functions: it would be taken for that."""
    sources = [read(f"lib/{name}") for name in LIBRARY]
    functions = {name for text in sources for name in re.findall(r"^local function (\w+)", text, re.MULTILINE)}
    declared = re.compile(r"\blocal (?!function)([\w, ]+)|\bfor ([\w, ]+) (?:in|=)|\bfunction\b[^()]*\(([^)]*)\)")
    others = {
        name
        for text in sources
        for found in declared.findall(re.sub(r"--[^\n]*", "", text))
        for name in re.findall(r"\w+", " ".join(found))
    }
    assert functions & others == set()


def test_declared_functions_exist() -> None:
    """A script declares as seldom only functions of the library."""
    for name in NAMES:
        for declared in re.findall(r"^--\[\[SELDOM ([\w\s]+)\]\]", read(name), re.MULTILINE):
            assert set(declared.split()) <= library_names()
