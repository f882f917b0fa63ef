"""The chat template, and the system message as the user chose it: the same in training, tasting, chat and export.

The choice is written into the template itself, so that whoever loads the exported tokenizer sees what the student saw.
`null` takes out the system message that a template inserts when none is given; a text takes its place.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from ethos.errors import EthosError
from ethos.spec.conversation import Conversation, Message

Turns = Literal["last", "all"]
"""Which of the assistant's turns are targets."""

TEMPLATE = "template"
"""Stands for the system message that the template itself inserts."""

_PROBE = "\u2047probe\u2047"
_USER_TURN = {"role": "user", "content": _PROBE}
_SYSTEM_TURN = [{"role": "system", "content": _PROBE}]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as tokens: a prompt, and what follows it, where `mask` says which tokens the assistant says."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    mask: tuple[bool, ...]


class ChatTemplate:
    """Turns conversations into tokens for one tokenizer and one choice of system message."""

    def __init__(self, tokenizer: Any, system_message: str | None = TEMPLATE) -> None:
        """`system_message`: None for none at all, `template` for what the template inserts, or a text.

        Raises:
            EthosError: if the tokenizer has no chat template, or one that refuses a plain message, refuses the system
                message that is to be there, or inserts one that can't be taken out.
        """
        if not tokenizer.chat_template:
            raise EthosError(
                "the tokenizer has no chat template; give the model a directory whose tokenizer_config.json or "
                "chat_template.jinja has one"
            )
        self.tokenizer = tokenizer
        special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        longest_first = sorted(filter(None, special), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self.text(Conversation.user("?"), reply_follows=True)
        if system_message != TEMPLATE:
            tokenizer.chat_template = _with_system_message(tokenizer, system_message)

    def text(self, conversation: Conversation, *, reply_follows: bool) -> str:
        """The conversation as the model sees it; with the assistant's header at the end if a reply follows.

        A special token's name within a message is only text: it begins no turn of its own.
        What a template that knows no system turn is to be told so stands before the first user's turn, in it.

        Raises:
            EthosError: if the template can't render it.
        """
        from jinja2 import TemplateError

        try:
            return self._rendered(conversation, reply_follows)
        except TemplateError as error:
            without = _without_system_turn(conversation)
            if without == conversation:
                raise EthosError(
                    f"the chat template refuses a conversation ({error}); mend the model's chat template"
                ) from error
        return self.text(without, reply_follows=reply_follows)

    def _rendered(self, conversation: Conversation, reply_follows: bool) -> str:
        turns = [{**turn, "content": self._harmless(turn["content"])} for turn in conversation.to_dicts()]
        rendered: str = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=reply_follows)
        return rendered

    def _harmless(self, text: str) -> str:
        """The text with the names of special tokens broken by a space of no width."""
        return self._special.sub(lambda name: f"{name[0][0]}\u200b{name[0][1:]}", text)

    @property
    def beginning(self) -> tuple[int, ...]:
        """The token that the tokenizer puts before any text, if it has one."""
        added: list[int] = self.tokenizer("", add_special_tokens=True)["input_ids"]
        return tuple(added[:1]) if added[:1] == [self.tokenizer.bos_token_id] else ()

    def prompt(self, conversation: Conversation) -> tuple[int, ...]:
        """Tokens up to and including the assistant's header."""
        return self._encode(self.text(conversation, reply_follows=True))

    def row(self, conversation: Conversation, turns: Turns = "last") -> Rendered:
        """A conversation that ends on the assistant, as the sampler would have produced it: prompt, reply, end of turn.

        Each reply is tokenised apart from what comes before it. What users, tools and headers say is never a target;
        with `turns` at `last` no earlier reply is either.

        Raises:
            EthosError: if it doesn't end on the assistant or begins with it, or the template rewrites earlier turns.
        """
        messages = conversation.messages
        if not messages or messages[-1].role != "assistant":
            raise EthosError("a demonstration must end on the assistant's turn; add the reply or drop the row")
        replies = [place for place, message in enumerate(messages) if message.role == "assistant"]
        if replies[0] == 0:
            raise EthosError("a demonstration begins with the assistant's turn; add what it answers, or drop the row")
        text, parts = "", []
        for place in replies if turns == "all" else replies[-1:]:
            before = self.text(Conversation(messages[:place]), reply_follows=True)
            whole = self.text(Conversation(messages[: place + 1]), reply_follows=False)
            if not before.startswith(text) or not whole.startswith(before):
                raise EthosError(
                    "the chat template rewrites earlier turns when a reply is added; rows can't be masked with it"
                )
            reply = whole[len(before) :].rstrip("\n")
            parts.append((self._encode(before[len(text) :]), self._encode(reply)))
            text = before + reply
        (prompt, first), *later = parts
        tokens, mask = list(first), [True] * len(first)
        for between, reply_tokens in later:
            tokens += [*between, *reply_tokens]
            mask += [False] * len(between) + [True] * len(reply_tokens)
        return Rendered(prompt, tuple(tokens), tuple(mask))

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of plain text, in which the name of a special token is only text."""
        return self._encode(self._harmless(text))

    def _encode(self, rendered: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(rendered, add_special_tokens=False))

    def decode(self, tokens: tuple[int, ...]) -> str:
        """Text without special tokens."""
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text


def _without_system_turn(conversation: Conversation) -> Conversation:
    """The same with the system's text at the head of the first user's turn."""
    first, *rest = conversation.messages or (None,)
    if first is None or first.role != "system" or not rest or rest[0].role != "user":
        return conversation
    return Conversation((Message("user", f"{first.content}\n\n{rest[0].content}"), *rest[1:]))


def _with_system_message(tokenizer: Any, system_message: str | None) -> str:
    """The template, changed so that this system message (or none) comes first when a conversation gives none."""
    from jinja2 import TemplateError

    template: str = tokenizer.chat_template
    if system_message is not None:
        try:
            _before_user(tokenizer, _SYSTEM_TURN)
        except TemplateError as error:
            raise EthosError(
                f"the chat template refuses a system message ({error}); set system_message to null"
            ) from error
        turn = "[{'role': 'system', 'content': " + json.dumps(system_message, ensure_ascii=False) + "}]"
        return (
            "{% if messages[0]['role'] != 'system' %}{% set messages = " + turn + " + messages %}{% endif %}" + template
        )
    inserted = _inserted_turn(tokenizer)
    if inserted is None:
        return template
    bos, framed, header = tokenizer.bos_token or "", _before_user(tokenizer, _SYSTEM_TURN), _user_header(tokenizer)
    for written in _as_written(inserted, template, bos):
        tokenizer.chat_template = template.replace(written, "")
        is_clean = _before_user(tokenizer, []) in (header, bos + header)
        if is_clean and _before_user(tokenizer, _SYSTEM_TURN) == framed:
            return str(tokenizer.chat_template)
    tokenizer.chat_template = template
    raise EthosError(
        "the chat template inserts a system message that can't be taken out; "
        "set system_message to `template` or to a text"
    )


def _inserted_turn(tokenizer: Any) -> str | None:
    """The system turn that the template inserts of its own, with what stands before the first user's text; or None."""
    from jinja2 import TemplateError

    try:
        plain, framed = _before_user(tokenizer, []), _before_user(tokenizer, _SYSTEM_TURN)
    except TemplateError:  # a template that refuses a system message inserts none
        return None
    opening, closing = framed.split(_PROBE, 1)
    is_inserted = plain.startswith(opening) and plain.endswith(closing) and len(plain) > len(opening) + len(closing)
    return plain if is_inserted else None


def _before_user(tokenizer: Any, turns: list[dict[str, str]]) -> str:
    """What is rendered before the text of a user's turn that follows these turns."""
    rendered: str = tokenizer.apply_chat_template([*turns, _USER_TURN], tokenize=False)
    return rendered[: rendered.rindex(_PROBE)]


def _user_header(tokenizer: Any) -> str:
    """What opens a user's turn, as seen where it is not the first."""
    earlier = [_USER_TURN, {"role": "assistant", "content": _PROBE}]
    rendered: str = tokenizer.apply_chat_template(earlier, tokenize=False)
    return _before_user(tokenizer, earlier).removeprefix(rendered)


def _as_written(turn: str, template: str, bos: str) -> list[str]:
    """The longest beginnings of the turn that stand in the template's source, as literals are written there."""
    found = []
    for start in dict.fromkeys((turn, turn.removeprefix(bos))):
        for escaped in (start.replace("\n", "\\n"), start):
            length = next((n for n in range(len(escaped), 0, -1) if escaped[:n] in template), 0)
            found.append(escaped[:length])
    return sorted(filter(None, found), key=len, reverse=True)
