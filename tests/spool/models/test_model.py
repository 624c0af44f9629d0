"""Models: what is shown of one, and what travels through Redis."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spool.errors import NoModel, StoreUnavailable, UnknownModel
from spool.keys import prefix
from spool.models.model import DEMO, Model, Upstream
from spool.models.table import ModelTable
from spool.redis.link import RedisLink

SMALL = Model(name="small", backend="openai", upstream="gpu", upstream_model="org/small-1b", max_running=3)


def test_model_round_trip() -> None:
    """A model that was published is read as it was."""
    assert Model.from_dict(SMALL.to_dict()) == SMALL


def test_model_of_a_later_version() -> None:
    """Fields that a later version adds are left out."""
    assert Model.from_dict({**SMALL.to_dict(), "colour": "blue"}) == SMALL


def test_upstream_hides_its_key() -> None:
    """An upstream shows no key."""
    upstream = Upstream(name="gpu", url="http://x", api_key="very-secret")
    assert "very-secret" not in f"{upstream!r} {upstream}"


def test_table_of_static_models() -> None:
    """Without Redis the table has what it was given; a job without a model gets the first, or the one that is set."""
    link = RedisLink("unix:///nowhere.sock", timeout_s=0.1)
    assert ModelTable(link, [SMALL, DEMO]).get(None) == SMALL
    assert ModelTable(link, [SMALL, DEMO], default="demo").get(None) == DEMO
    assert ModelTable(link, [SMALL, DEMO]).get("demo") == DEMO


def test_table_with_an_unknown_model(link: RedisLink) -> None:
    """An unknown model is an error that names some of the known ones."""
    many = [Model(name=f"m{n}", backend="openai") for n in range(50)]
    with pytest.raises(UnknownModel) as caught:
        ModelTable(link, many).get("nothing")
    assert caught.value.name == "nothing"
    assert caught.value.known == [f"m{n}" for n in range(20)]


def test_table_without_any_model(link: RedisLink) -> None:
    """With the demo switched off and no upstream reached yet, a job that names no model cannot be accepted yet."""
    table = ModelTable(link, [], ["u"])
    assert table.all() == []
    with pytest.raises(NoModel):
        table.get(None)
    table.publish("u", [SMALL])
    assert table.get(None) == SMALL


def test_table_with_discovered_models(link: RedisLink) -> None:
    """What one program discovered another one knows at once when it is asked for it; static models come first."""
    ours, theirs = ModelTable(link, [DEMO], ["u"]), ModelTable(link, [DEMO], ["u"])
    assert ours.all() == [DEMO]
    theirs.publish("u", [SMALL, Model(name="demo", backend="openai")])
    fresh = ModelTable(link, [DEMO], ["u"])
    assert fresh.get("small") == SMALL
    assert fresh.get("demo") == DEMO
    assert fresh.all() == [SMALL, DEMO]
    assert fresh.default() == SMALL


def test_table_that_is_configured_again(link: RedisLink) -> None:
    """Static models are replaced, and models of an upstream that is gone leave the table."""
    table = ModelTable(link, [DEMO], ["u", "v"])
    table.publish("u", [replace(SMALL, upstream="u")])
    table.publish("v", [replace(SMALL, name="other", upstream="v")])
    assert [model.name for model in table.all()] == ["small", "other", "demo"]
    limited = Model(name="limited", backend="demo", max_running=3)
    table.configure([limited], ["v"])
    assert table.max_running("limited") == 3
    assert sorted(model.name for model in table.all()) == ["limited", "other"]
    with pytest.raises(UnknownModel):
        table.get("small")


def test_table_while_redis_is_away(link: RedisLink) -> None:
    """What was known stays known while Redis is away."""
    table = ModelTable(link, [DEMO], ["u"])
    table.publish("u", [SMALL])
    assert table.get("small") == SMALL
    link.call("DEL", f"{prefix(0)}model-table")
    assert table.get("small") == SMALL


def test_table_in_the_upstreams_own_order(link: RedisLink) -> None:
    """The first model that the first upstream lists is the default; an upstream that is no longer configured, and
    what one no longer serves, is forgotten."""
    listed = [Model(name=f"m{n:02}", backend="openai") for n in (7, 3, 9, *range(20, 60))]
    table = ModelTable(link, [DEMO], ["a", "b"])
    table.publish("b", [SMALL])
    table.publish("a", [*listed, Model(name="old", backend="openai")])
    table.publish("a", listed)
    assert table.all() == [*listed, SMALL, DEMO]
    assert ModelTable(link, [DEMO], ["b"]).all() == [SMALL, DEMO]
    assert ModelTable(link, [DEMO]).default() == DEMO


TALKER = Model(name="talker", backend="openai", upstream="u", upstream_model="t", continue_style="vllm")


def test_proof_reaches_every_table(link: RedisLink) -> None:
    """A model that is to continue does so, for every program, from when a worker has seen it until one has seen that it
    does not."""
    web, worker = (ModelTable(link, [TALKER, SMALL, DEMO], ["u"]) for _ in range(2))
    assert [model.continues for model in worker.all()] == [False, False, True]
    worker.publish_proof(worker.get("talker"), joins=True)
    assert [model.continues for model in web.all()] == [True, False, True]
    assert web.get("talker").continues
    assert web.get("talker") == worker.get("talker")
    worker.publish_proof(worker.get("talker"), joins=False)
    assert not worker.get("talker").continues
    assert not ModelTable(link, [TALKER], ["u"]).get("talker").continues


@pytest.mark.parametrize("change", [{"continue_style": "prefix"}, {"upstream_model": "other"}, {"upstream": "v"}])
def test_proof_of_what_was_configured_before(link: RedisLink, change: dict[str, str]) -> None:
    """A proof of another style, or of another model under the same name, is none."""
    ModelTable(link, [TALKER], ["u"]).publish_proof(TALKER, joins=True)
    assert ModelTable(link, [TALKER], ["u"]).get("talker").continues
    assert not ModelTable(link, [replace(TALKER, **change)], ["u", "v"]).get("talker").continues  # type: ignore[arg-type]


def test_proof_of_a_model_that_is_not_to_continue(link: RedisLink) -> None:
    """Taken out of the models file again, ``continue`` is off whatever was proven."""
    ModelTable(link, [TALKER], ["u"]).publish_proof(TALKER, joins=True)
    assert not ModelTable(link, [replace(TALKER, continue_style="")], ["u"]).get("talker").continues


def test_proof_while_redis_is_away() -> None:
    """Without Redis a model of the settings can still be asked for; nothing is known to be proven."""
    table = ModelTable(RedisLink("unix:///nowhere.sock", timeout_s=0.1), [TALKER, DEMO], ["u"])
    assert table.get("talker") == TALKER


def test_table_when_redis_was_never_there() -> None:
    """What might be known in Redis cannot be called unknown while Redis is away."""
    with pytest.raises(StoreUnavailable):
        ModelTable(RedisLink("unix:///nowhere.sock", timeout_s=0.1), [DEMO], ["a"]).get("small")
