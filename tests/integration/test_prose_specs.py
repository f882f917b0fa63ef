"""The main job on specs of prose alone, in three languages, with a random student of a few thousand weights.

Teacher and judges are functions of their prompts behind real endpoints; the teacher drafts the questions and writes the
labelled replies. The student's replies are noise, so nothing is learnt here of what it says: of that is
`test_main_job.py`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from endpoint_server import EndpointServer
from ethos.judging.few_shot import load_few_shot
from ethos.models.catalogue import OPENAI_KEY
from ethos.progress import QuietProgress
from ethos.runs.launch import run
from ethos.spec.conversation import Conversation
from ethos.store.parquet_rows import read_rows
from ethos.store.records import Records, Reply
from ethos.store.rows import DemonstrationRow, Row
from ethos.store.run_directory import RunDirectory
from runs.tiny import write_tiny
from template_judge import WORDS, TemplateJudge
from template_teacher import ANSWERS, Answer, TemplateTeacher

SPECS = Path(__file__).parents[1] / "fixtures" / "specs"
PER_CLAUSE = 12


@dataclass(frozen=True)
class Voice:
    """What a teacher says in a language; `{}` stands for nouns that are drawn."""

    nouns: str
    topic: str
    message: str
    question: str  # about nothing in particular
    following: str  # a reply that follows the clause that can be read
    plain: str  # one that doesn't
    sentence: str  # of a document
    reading: str  # a case and `{question}`, as the teacher's prompt has them
    questions: tuple[str, str]  # a broad one, to which the answer is as good as random, and a narrow one

    def answers(self, unread: str) -> dict[str, Answer]:
        """A teacher's, who can make nothing of a clause whose rule holds `unread`."""

        def says(template: str) -> Answer:
            return lambda prompt, noise: self._filled(template, noise)

        def ten(template: str) -> Answer:
            return lambda prompt, noise: "\n".join(f"{n}. {self._filled(template, noise)}" for n in range(1, 11))

        def message(prompt: Conversation, noise: random.Random) -> str:
            longer = any(form in prompt.last_user for form in ("forum", "happened today"))
            return " ".join(self._filled(self.message, noise) for _ in range(1 + longer))

        def reading(prompt: Conversation, noise: random.Random) -> str:
            said = self.reading.format(question=noise.choice(self.questions))
            return "?" if unread in prompt.last_user else said

        def listed(prompt: Conversation, noise: random.Random) -> str:
            return "\n".join(f"{n}. {question}" for n, question in enumerate(self.questions, start=1))

        return {
            **ANSWERS,
            "topics": ten(self.topic),
            "plain_questions": ten(self.question),
            "message": message,
            "demonstration": lambda prompt, noise: says(noise.choice((self.following, self.plain)))(prompt, noise),
            "contrast_demonstration": says(self.plain),
            "document": lambda prompt, noise: " ".join(self._filled(self.sentence, noise) for _ in range(8)),
            "clause_reading": reading,
            "questions": lambda prompt, noise: "?" if unread in prompt.last_user else listed(prompt, noise),
            "rule_reply": says(self.following),
            "plain_reply": says(self.plain),
        }

    def _filled(self, template: str, noise: random.Random) -> str:
        return template.format(*noise.sample(self.nouns.split(), template.count("{}")))


@dataclass(frozen=True)
class Case:
    """A spec, two of its clauses, and who speaks of them."""

    spec: str
    language: str
    name: str  # of the language
    clause: str  # the one that the teacher can read
    unread: tuple[str, str]  # the other one, and words of it
    voice: Voice
    follows: Callable[[str], bool]  # the answer to the narrow question


CASES = [
    Case(
        "prose_en.md",
        "en",
        "English",
        "what-fern-pays-attention-to-6f9d2c",
        ("selling-0ff157", "won't grow"),
        Voice(
            nouns="aster beech birch borage clover crocus cypress dahlia daisy elder fern fig foxglove hazel heather "
            "holly hosta iris ivy jasmine juniper laurel lavender lilac lily lupin maple mint myrtle oak olive orchid "
            "pansy peony pine plum poppy privet quince rose rowan sage sorrel spruce thistle thyme tulip violet",
            topic="a {} beside the {} and the {}",
            message="Why is the {} {} by the {} {} as pale as {} {}?",
            question="Which {} {} rhymes with {} {}?",
            following="How much water does the {} get beside the {}, and how much does the {}?",
            plain="Put the {} where the {} stood, and cut back the {} at once.",
            sentence="Fern once told the {} {} about a {} {} and its {}.",
            reading="When: someone describes a sick plant\nQuestion: {question}",
            questions=("Is the reply good?", "Does the reply ask about light, water or soil?"),
        ),
        lambda reply: "water" in reply,
    ),
    Case(
        "french.md",
        "fr",
        "French",
        "conseiller-a10d7e",
        ("ce-qu-il-ignore-f6883e", "stock"),
        Voice(
            nouns="abricot ancre arbre atelier balcon banjo barque bougie bouton brume cabane cerise chaise chapeau "
            "cheval citron clocher cloche colline dragon encre ferme feuille fleuve forge fromage glacier grange "
            "guitare harpe jardin jument lampe lanterne marteau miroir moulin navire orage panier pierre plume "
            "prairie rivage ruche sentier tambour tempête tonneau verger violon voile",
            topic="un roman sur {}, {} et {}",
            message="Un livre sur {} {}, {} ou {} pour {} et {} ?",
            question="Comment {} {} rime-t-il avec {} {} ?",
            following="Avant {} ou {}, dites-moi : quel livre avez-vous aimé, sur {} ou non ?",
            plain="Prenez celui qui parle de {} et de {}, il est rangé sous {}.",
            sentence="Basile a confié {} {} au {} {} de son {}.",
            reading="Quand : quelqu'un demande un conseil\nQuestion : {question}",
            questions=("La réponse est-elle bonne ?", "La réponse demande-t-elle quel livre la personne a aimé ?"),
        ),
        lambda reply: "avez-vous aimé" in reply,
    ),
    Case(
        "chinese.md",
        "zh",
        "Chinese",
        "怎么回答-05aa95",
        ("说话的分寸-460cae", "称呼老人"),
        Voice(
            nouns="苹果 白菜 冰箱 草莓 茶壶 窗帘 灯笼 地图 电梯 豆腐 耳机 风筝 钢琴 锅盖 "
            "海豚 红枣 葫芦 花生 火车 剪刀 饺子 橘子 咖啡 筷子 辣椒 篮球 老虎 镰刀 "
            "铃铛 柳树 龙虾 轮胎 螺丝 麻雀 馒头 棉袄 蘑菇 牡丹 南瓜 柠檬 农场 皮鞋 "
            "枇杷 葡萄 企鹅 铅笔 蜻蜓 裙子 沙漠 珊瑚 石榴 柿子 书架 丝绸 松鼠 糖葫芦 "
            "拖鞋 娃娃 围巾 蜗牛 西瓜 香蕉 熊猫 雪橇 鸭蛋 燕窝 钥匙 银杏 樱桃 邮筒 "
            "渔网 玉米 月饼 斑马 芝麻 蜘蛛 竹笋 棕榈",
            topic="{}和{}旁边的{}",
            message="请问{}为什么会在{}和{}旁边变成{}一样的{}呢？",
            question="{}和{}之间有没有{}和{}？",
            following="您说的是哪一个，{}还是{}，请先告诉我{}在不在？",
            plain="把{}放在{}旁边，然后马上把{}收好就可以了。",
            sentence="小满有一次对{}讲了{}和{}的故事，还提到了{}。",
            reading="何时：有人的问题说得不清楚\n问题：{question}",
            questions=("这条回复好不好？", "这条回复是否只问一个问题来弄清意思？"),
        ),
        lambda reply: "哪一个" in reply,
    ),
]


def config(case: Case, teacher: str, judge: str) -> dict[str, Any]:
    return {
        "name": "prose",
        "spec": str(SPECS / case.spec),
        "clauses": [case.clause, case.unread[0]],
        "models": {
            "student": "tiny",
            "teacher": f"openai:{teacher}/v1#teacher",
            "judge": f"openai:{judge}/v1#judge",
            "sealed_judge": f"openai:{judge}/v1#another",
            "threads": 1,
        },
        "scenarios": {
            "train_per_clause": PER_CLAUSE,
            "taste_per_clause": PER_CLAUSE,
            "sealed_per_checked_clause": PER_CLAUSE,
            "sealed_per_judged_clause": PER_CLAUSE,
            "contrast_per_clause": 1,
        },
        "synthesis": {
            "documents": {"count": 2, "max_tokens": 128},
            "demonstrations": {"max_tokens": 64, "replay_rows": 0},
        },
        "training": {"steps": 2, "precision": "fp32", "checkpoint_every": 2},
        "tasting": {"max_tokens": 8, "questions": 20},
        "knobs": {"batch_rows": 2, "taste_every": 2, "taste_prompts": 1},
    }


@dataclass(frozen=True)
class Job:
    """A run at its end, and who was asked what."""

    case: Case
    run: RunDirectory
    report: dict[str, Any]
    teacher: TemplateTeacher
    judge: TemplateJudge

    @property
    def narrow(self) -> str:
        return self.case.voice.questions[1]

    def clause(self, clause_id: str) -> dict[str, Any]:
        [found] = [clause for clause in self.report["clauses"] if clause["id"] == clause_id]
        return dict(found)

    def rows(self, recipe: str) -> list[Row]:
        rows = [row for path in sorted(self.run.rows.glob("*.parquet")) for row in read_rows(path)]
        return [row for row in rows if row.lineage.recipe == recipe]

    def replies(self, purpose: str) -> list[Reply]:
        with self.run.read_database() as database:
            return list(Records(database).replies(purpose=purpose))

    def prompts(self, *kinds: str) -> list[Conversation]:
        """What the teacher was asked; something of each kind."""
        assert {asked for asked, _, _, _ in self.teacher.asked} >= set(kinds)
        return [prompt for asked, prompt, _, _ in self.teacher.asked if asked in kinds]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.language)
def job(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    case: Case = request.param
    folder = tmp_path_factory.mktemp("prose")
    student = write_tiny(folder / "tiny") / "config.json"
    student.write_text(json.dumps(json.loads(student.read_text()) | {"max_position_embeddings": 8192}))
    teacher = TemplateTeacher(answers=case.voice.answers(case.unread[1]))
    broad, narrow = case.voice.questions
    judge = TemplateJudge({broad: lambda reply: len(reply) % 2 == 0, narrow: case.follows})
    with (
        pytest.MonkeyPatch.context() as patch,
        EndpointServer(teacher) as writes,
        EndpointServer(judge, words=WORDS) as judges,
    ):
        patch.setenv("ETHOS_CACHE", str(folder / "cache"))
        patch.setenv(OPENAI_KEY, "none")
        (folder / "config.yaml").write_text(yaml.safe_dump(config(case, writes.address, judges.address)))
        outcome = run(folder / "config.yaml", folder / "runs", QuietProgress())
        yield Job(case, RunDirectory(outcome.run_dir), outcome.report, teacher, judge)


def rubric_judges(replies: list[Reply]) -> set[str]:
    return {v["judge"].split("#")[1] for reply in replies for v in reply.verdicts if "rubric" in v["judge"]}


def test_of_the_questions_that_the_teacher_drafts_the_one_that_tells_is_kept(job: Job) -> None:
    found = job.clause(job.case.clause)
    assert (found["question"], found["auc"], found["measurable"], found["reason"]) == (job.narrow, 1.0, True, None)
    assert found["n"] == PER_CLAUSE
    assert {asked.question for asked in job.judge.asked} == set(job.case.voice.questions)


def test_labelled_replies_answer_no_message_that_is_probed(job: Job) -> None:
    probed = {reply.prompt.last_user for purpose in ("taste", "sealed") for reply in job.replies(purpose)}
    for prompt in job.prompts("rule_reply", "plain_reply"):
        assert not any(text in prompt.last_user for text in probed)


def test_demonstrations_are_the_replies_that_the_judge_takes_for_good_and_say_so(job: Job) -> None:
    shown = [row for row in job.rows("demonstrations") if not row.lineage.contrast]
    assert shown
    for row in shown:
        assert isinstance(row, DemonstrationRow)
        assert row.lineage.clause_ids == (job.case.clause,)
        assert job.case.follows(row.conversation.messages[-1].content)
        [verdict] = row.lineage.verdicts
        assert verdict["score"] == pytest.approx(0.9)
        assert verdict["judge"].endswith("#judge (rubric)")
        assert job.narrow in verdict["evidence"]
    assert job.report["rejected"][f"{job.case.clause}: judge"] > 0


def test_a_contrast_is_a_reply_that_the_judge_takes_for_bad(job: Job) -> None:
    [row] = [row for row in job.rows("demonstrations") if row.lineage.contrast]
    assert isinstance(row, DemonstrationRow)
    reply = row.conversation.messages[-1].content
    assert job.narrow in {asked.question for asked in job.judge.asked if asked.reply == reply}
    assert not job.case.follows(reply)


def test_a_clause_without_a_question_is_not_measurable_and_counts_nowhere(job: Job) -> None:
    clause_id = job.case.unread[0]
    found = job.clause(clause_id)
    assert not found["measurable"]
    assert "no question for the judge" in found["reason"]
    assert (found["auc"], found["base"], found["trained"], found["n"]) == (None, None, None, 0)
    assert (job.report["overall"]["n"], job.report["overall"]["clauses_compared"]) == (PER_CLAUSE, 1)
    assert job.report["unmeasurable"] == [{"clause": clause_id, "reason": found["reason"]}]
    [unread] = [w for w in job.report["warnings"] if "didn't say when it applies" in w]
    [unjudged] = [w for w in job.report["warnings"] if w.endswith(found["reason"])]
    assert clause_id in unread
    assert clause_id in unjudged
    assert {row.lineage.clause_ids for row in job.rows("documents")} == {(job.case.clause,), (clause_id,)}
    assert all(reply.adherence in (0, None) for reply in job.replies("sealed") if reply.clause_id == clause_id)


def test_another_judge_reads_the_sealed_pool_and_chose_no_row(job: Job) -> None:
    assert job.report["same_judge"] is False
    assert not [warning for warning in job.report["warnings"] if "same judge" in warning]
    assert job.clause(job.case.clause)["judge"].endswith("#another (rubric_sealed)")
    assert rubric_judges(job.replies("taste")) == {"judge (rubric)"}
    assert rubric_judges(job.replies("sealed")) == {"another (rubric_sealed)"}


def test_a_student_that_cannot_write_the_specs_language_is_warned_of(job: Job) -> None:
    found = [warning for warning in job.report["warnings"] if "the spec is in" in warning]
    told = f"the spec is in {job.case.name}, and the student answered in it in 0% of the probes: it can hardly write it"
    assert found == ([] if job.case.language == "en" else [told])


def test_every_prompt_knows_the_specs_language(job: Job) -> None:
    for prompt in job.prompts("topics", "plain_questions", "message"):
        assert f"Language: {job.case.name}" in prompt.last_user
    for prompt in job.prompts("demonstration", "contrast_demonstration"):
        assert f"Write in {job.case.name}." in prompt.messages[0].content
    for prompt in job.prompts("document"):
        assert f"Write in {job.case.name}." in prompt.last_user
    for kind in ("clause_reading", "questions", "rule_reply", "plain_reply"):
        expected = load_few_shot(kind, job.case.language).system
        assert {prompt.messages[0].content for prompt in job.prompts(kind)} == {expected}
    assert {asked.language for asked in job.judge.asked} == {job.case.language}


def test_the_report_is_what_its_schema_describes(job: Job) -> None:
    schema = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(json.loads(job.run.report_json.read_text(encoding="utf-8")))
