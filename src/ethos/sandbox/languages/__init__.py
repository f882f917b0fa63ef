"""The languages whose programs can be run, by name. Another one is a file here, its harness, and a line below."""

from ethos.sandbox.languages.php import Php
from ethos.sandbox.languages.python import Python
from ethos.sandbox.types import Language

LANGUAGES: dict[str, Language] = {language.name: language for language in (Python(), Php())}
