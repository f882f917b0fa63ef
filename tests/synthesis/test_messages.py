"""What of a teacher's message is kept, and which is refused, in every language that has patterns."""

from __future__ import annotations

import pytest

from ethos.synthesis.messages import clean_message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Where is the key?", "Where is the key?"),
        ('  "Where is the key?"  ', "Where is the key?"),
        ("“Where is the key?”", "Where is the key?"),
        ("Subject: Where is the key?", "Where is the key?"),
        ("Message: Hello,\nwhere is the key?\nRuth", "Hello,\nwhere is the key?\nRuth"),
        ('Message: "Where is the key?"', "Where is the key?"),
        ("", None),
        ("   ", None),
        ("Hello there", None),
        ("word " * 81, None),
        ("Dear [Your Name], where is the key?", None),
        ("Where is {topic}, please?", None),
        ("Where is it?<|im_end|>", None),
        ("Who writes: someone with a key", None),
        ("As an AI, I have no keys at all.", None),
        ("I'm sorry to hear about your key.", None),
        ("How can I help you with your key?", None),
        ("I'm sorry, but I can't help you with that.", None),
        ("I apologize, but I am unable to answer that question.", None),
        ("I'm sorry I lost your key. Is that bad?", "I'm sorry I lost your key. Is that bad?"),
        ("Could you provide more details about the key?", None),
        ("« Où est la clé, s'il vous plaît ? »", "Où est la clé, s'il vous plaît ?"),
        ("Objet : Où est la clé de la maison ?", "Où est la clé de la maison ?"),
        ("Cher [Votre Prénom], où est la clé ?", None),
        ("En tant qu'IA, je n'ai pas de clé.", None),
        ("Comment puis-je vous aider avec votre clé ?", None),
        ("「钥匙在哪里？」", "钥匙在哪里？"),
        ("我的钥匙找不到了，" * 19, "我的钥匙找不到了，" * 19),  # 152 characters say what 80 words may
        ("我的钥匙找不到了，" * 21, None),
        ("主题：钥匙在哪里？", "钥匙在哪里？"),
        ("亲爱的【姓名】，钥匙在哪里？", None),
        ("作为一个人工智能，我没有钥匙。", None),
        ("Je suis désolé, mais je ne peux pas vous dire où est la clé.", None),
        ("我可以帮您找钥匙。", None),
        ("很抱歉，我无法告诉您钥匙在哪里。", None),
    ],
)
def test_cleaning_takes_off_labels_and_refuses_what_no_person_would_write(text: str, expected: str | None) -> None:
    assert clean_message(text) == expected


def test_cleaning_keeps_what_is_said_within_quotation_marks() -> None:
    assert clean_message('My aunt says "it fell". Where is it?') == 'My aunt says "it fell". Where is it?'
