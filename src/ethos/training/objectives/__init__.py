"""The objectives by name, in the order in which a step computes them. Adding one means a file here and a line below."""

from ethos.training.objectives.demonstrations import Demonstrations
from ethos.training.objectives.distillation import Distillation
from ethos.training.objectives.documents import Documents
from ethos.training.objectives.preferences import Preferences
from ethos.training.objectives.reward_model import RewardModel
from ethos.training.objectives.rewards import Rewards
from ethos.training.objectives.types import Objective

OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (Documents(), Demonstrations(), Preferences(), RewardModel(), Rewards(), Distillation())
}
"""With their default hyperparameters."""
