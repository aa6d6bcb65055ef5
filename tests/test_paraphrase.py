"""Paraphrases: what comes back is checked, asked for again, paid for once, and never lost."""

from __future__ import annotations

import logging
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lancedb_embedders
from lancedb_embedders import SbertEmbeddings, settings
from lancedb_embedders.errors import ConfigurationError, EmbeddingWarning, ProviderError
from lancedb_embedders.tools import paraphrase
from lancedb_embedders.tools.pairs.paraphrase_check import MalformedError, problem_of, read_answer
from tests.chat_server import KEY, ChatServer, answer

pytest.importorskip("openai", reason='needs pip install "lancedb-embedders[openai]"')

TEXT = "How do I change my password?"
GOOD = [
    "What must I do to get a new password?",
    "Where can I set another password?",
    "I'd like to replace my password, how does that work?",
    "In what way is a password changed?",
]
RATE = (429, {"error": {"message": "Rate limit", "code": "rate_limit"}}, {"retry-after": "0"})


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def ask(server: ChatServer, texts: Any = (TEXT,), **options: Any) -> Any:
    return paraphrase(list(texts), model="words-1", base_url=server.url, **{"n": 2, **options})


def test_good_answers_are_taken_with_what_they_cost() -> None:
    with ChatServer(lambda text, time: answer(f"{text[:-1]}, please?", f"Say: {text}")) as server:
        texts = [f"Where is room {number}?" for number in range(12)]
        found = ask(server, texts, usd_per_million_tokens=(1.0, 10.0))
    assert [one.text for one in found.texts] == texts
    assert found.texts[3].paraphrases == ("Where is room 3, please?", "Say: Where is room 3?")
    assert found.incomplete == ()
    assert (found.requests, found.prompt_tokens, found.completion_tokens) == (12, 1200, 240)
    assert found.usd == pytest.approx(12 * (100 * 1 + 20 * 10) / 1e6)
    assert len(found.pairs()) == 24
    assert found.pairs()[0].query == texts[0]
    request = server.seen[0]
    assert request["model"] == "words-1"
    assert request["response_format"]["json_schema"]["strict"] is True
    assert found.to_dict()["texts"][0]["error"] is None
    assert "Paraphrases" in str(found)


def test_equal_texts_are_asked_for_once() -> None:
    with ChatServer(lambda text, time: answer(*GOOD[:2])) as server:
        found = ask(server, [TEXT, TEXT, " "])
    assert [one.paraphrases for one in found.texts] == [tuple(GOOD[:2])] * 2
    assert len(server.seen) == 1
    assert len(found.pairs()) == 2


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (TEXT, "equal to the source"),
        ("how do i change my PASSWORD", "equal to the source"),
        (GOOD[0].upper(), "equal to another one"),
        ("I'm sorry, but I can't help with that.", "a refusal"),
        ("A very long story. " * 20, "length 380, where the source has 28"),
        ("Как мне изменить пароль?", "written in Cyrillic, where the source is in Latin"),
        ("", "no text"),
        (7, "no text"),
    ],
)
def test_what_is_no_paraphrase_is_asked_for_again(bad: Any, why: str) -> None:
    said = [answer(GOOD[0], bad), answer(GOOD[1])]
    with ChatServer(lambda text, time: said[time]) as server:
        found = ask(server)
    assert found.texts[0].paraphrases == (GOOD[0], GOOD[1])
    assert found.texts[0].rejected == ((str(bad), why),)
    assert found.texts[0].error is None
    second = server.seen[1]["messages"][-1]["content"]
    assert second.startswith("Write 1 paraphrases")
    assert GOOD[0] in second  # what is there is not to come again
    assert found.requests == 2


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("Sure! Here they are:", "no JSON"),
        ('{"answers": ["a"]}', 'no list of "paraphrases"'),
        ('["', "no JSON"),
    ],
)
def test_malformed_answers_are_asked_for_again_a_few_times_and_then_reported(
    said: str, why: str
) -> None:
    with ChatServer(lambda text, time: said) as server, pytest.warns(EmbeddingWarning, match=why):
        found = ask(server, max_attempts=3)
    assert len(server.seen) == 3
    assert found.texts[0].paraphrases == ()
    assert found.incomplete == found.texts
    assert found.texts[0].rejected == ((said, why),) * 3
    assert found.prompt_tokens == 300  # paid for all the same


def test_too_few_are_reported_and_too_many_are_not_taken() -> None:
    said = "1 of 2 passed, the last: equal to another one"
    with (
        ChatServer(lambda text, time: answer(GOOD[0])) as server,
        pytest.warns(EmbeddingWarning, match=said),
    ):
        few = ask(server)
    assert few.texts[0].paraphrases == (GOOD[0],)
    with ChatServer(lambda text, time: answer(*GOOD)) as server:
        many = ask(server)
    assert many.texts[0].paraphrases == tuple(GOOD[:2])
    assert [why for _, why in many.texts[0].rejected] == ["more than were asked for"] * 2


def test_refusals_and_answers_that_were_cut_off_are_told() -> None:
    with ChatServer(lambda text, time: "") as server:
        server.refusal = "I can't paraphrase that."
        with pytest.warns(EmbeddingWarning, match="refused: I can't"):
            found = ask(server)
        assert found.texts[0].rejected[0] == ("I can't paraphrase that.", "a refusal")
        server.refusal, server.finish = None, "content_filter"
        with pytest.warns(EmbeddingWarning, match="content filter"):
            ask(server)
    with ChatServer(lambda text, time: '{"paraphrases": ["What') as server:
        server.finish = "length"
        with pytest.warns(EmbeddingWarning, match="since the answer was cut off"):
            ask(server)


def test_fenced_json_is_read_and_servers_without_formats_are_asked_without() -> None:
    fenced = f"```json\n{answer(*GOOD[:2])}\n```"
    with ChatServer(lambda text, time: fenced, formats=False) as server:
        found = ask(server, [TEXT, "Where is it?"])
    assert found.incomplete == ()
    assert found.requests == 2
    asked = [body.get("response_format", {}).get("type") for body in server.seen]
    assert asked[-1] is None
    assert "json_schema" in asked


def test_rate_limits_and_failures_that_pass_are_waited_out() -> None:
    def say(text: str, time: int) -> Any:
        return [RATE, (503, {"error": "busy"}, {}), answer(*GOOD[:2])][time]

    with ChatServer(say) as server:
        found = ask(server)
    assert len(server.seen) == 3
    assert found.requests == 1
    assert found.texts[0].paraphrases == tuple(GOOD[:2])


def test_what_was_paid_for_is_kept_when_a_later_text_fails() -> None:
    empty = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    texts = [f"Where is room {number}?" for number in range(9)]

    def say(text: str, time: int) -> Any:
        return (429, empty, {}) if text == texts[4] else answer(f"Tell me: {text}")

    with ChatServer(say) as server, pytest.warns(EmbeddingWarning, match="5 of 9 texts .*quota"):
        found = ask(server, texts, n=1, concurrency=1)
    assert [len(one.paraphrases) for one in found.texts] == [1, 1, 1, 1, 0, 0, 0, 0, 0]
    assert len(server.seen) == 5  # the others would fail alike, and were not asked for
    assert "quota" in str(found.texts[4].error)
    assert "not asked" in str(found.texts[5].error)


def test_a_text_that_is_refused_by_itself_leaves_the_others_alone() -> None:
    def say(text: str, time: int) -> Any:
        if "3" in text:
            return 400, {"error": {"message": "the content is not allowed"}}, {}
        return answer(f"Tell me: {text}")

    with ChatServer(say) as server, pytest.warns(EmbeddingWarning, match="1 of 6 texts"):
        found = ask(server, [f"Where is room {n}?" for n in range(6)], n=1)
    assert [one.error is None for one in found.texts] == [True, True, True, False, True, True]
    assert "not allowed" in str(found.texts[3].error)


def test_similarity_bounds_keep_copies_and_strangers_out() -> None:
    copy, stranger = "How do I change my password please?", "Is snow falling in the mountains?"
    said = [answer(copy, stranger, GOOD[0]), answer(GOOD[1])]
    with ChatServer(lambda text, time: said[time]) as server:
        found = ask(server, function="sbert", min_similarity=0.5, max_similarity=0.95)
    one = found.texts[0]
    assert one.paraphrases == (GOOD[0], GOOD[1])
    assert all(0.5 <= value <= 0.95 for value in one.similarities)
    reasons = dict(one.rejected)
    assert reasons[copy].endswith("more than 0.95")
    assert reasons[stranger].endswith("less than 0.5")


def test_similarity_of_packed_bits_is_that_of_their_signs() -> None:
    packed = SbertEmbeddings.create(quantization="binary")
    stranger = "Is snow falling in the mountains?"
    said = [answer(stranger, *GOOD), answer(*GOOD)]
    with ChatServer(lambda text, time: said[min(time, 1)]) as server:
        found = ask(server, function=packed, min_similarity=0.3, max_similarity=0.99)
    assert found.texts[0].paraphrases == (GOOD[0], GOOD[1])
    assert dict(found.texts[0].rejected)[stranger].endswith("less than 0.3")


# -- keys and hosts -----------------------------------------------------------------------------


def test_the_key_shows_nowhere(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = "sk-other-secret-4711-zyxwvuts"
    monkeypatch.setenv("MY_KEY", other)
    package = str(Path(lancedb_embedders.__file__).parent)
    with ChatServer(lambda text, time: answer(*GOOD[:2])) as server:
        with caplog.at_level(logging.DEBUG), pytest.raises(ProviderError) as caught:
            ask(server, api_key_env="MY_KEY")  # the server repeats the key
        found = ask(server)
    places = [caplog.text, str(caught.value), "".join(traceback.format_exception(caught.value))]
    whole = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    for frame in whole.stack:
        if frame.filename.startswith(package):
            places += (frame.locals or {}).values()
    assert "Incorrect API key" in str(caught.value)
    assert other not in "\n".join(places)
    assert KEY not in repr(found)


def test_no_key_goes_to_a_host_that_nobody_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"not sent to words\.example\.com"):
        paraphrase([TEXT], model="m", base_url="https://words.example.com/v1")
    with pytest.raises(ConfigurationError, match="credential"):
        paraphrase([TEXT], model="m", base_url="https://words.example.com/v1?api_key=abc")
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        paraphrase([TEXT], model="m")
    assert settings.trusted_hosts == ()


def test_a_server_that_is_none_is_said_at_once() -> None:
    texts = [f"text {n}" for n in range(50)]
    with (
        ChatServer(lambda text, time: (404, {"error": "no such model"}, {})) as server,
        pytest.raises(ProviderError, match=r"words-1 at .* 404: no such model"),
    ):
        ask(server, texts)
    assert len(server.seen) <= 8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n": 0}, "n=0"),
        ({"max_attempts": 0}, "max_attempts=0"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"min_similarity": 0.9, "max_similarity": 0.8}, "min_similarity=0.9"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        paraphrase([TEXT], model="m", **options)
    with pytest.raises(ConfigurationError, match="one string"):
        paraphrase(TEXT, model="m")


# -- the checks ---------------------------------------------------------------------------------


def test_plausible_paraphrases_pass() -> None:
    for source, other in [
        ("今日は寒いです。", "今日は気温が低いです。"),
        ("I'm sorry, I can't help you today.", "Sorry, but I cannot help you today, my friend."),
        ("Hi", "Hello there, nice to meet you"),
        ("Wo ist der Bahnhof?", "Wie komme ich zur Bahn-Station?"),
        ("42", "forty-two"),
    ]:
        assert problem_of(other, source, []) is None


def test_reading_never_guesses() -> None:
    assert read_answer('["a", 1]') == ["a", 1]
    with pytest.raises(MalformedError):
        read_answer('"a"')


def test_nothing_warns_when_all_is_well(recwarn: pytest.WarningsRecorder) -> None:
    say: Callable[[str, int], str] = lambda text, time: answer(*GOOD[:2])  # noqa: E731
    with warnings.catch_warnings(), ChatServer(say) as server:
        warnings.simplefilter("error", EmbeddingWarning)
        ask(server)
