"""The objectives, by name. Adding one means a file here and a line below."""

from ethos.training.objectives.demonstrations import Demonstrations
from ethos.training.objectives.documents import Documents
from ethos.training.objectives.types import Objective

OBJECTIVES: dict[str, Objective] = {"documents": Documents(), "demonstrations": Demonstrations()}
