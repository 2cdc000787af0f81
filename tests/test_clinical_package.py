"""fahr_hf.clinical as people type it: names, signatures, and what an import costs."""

import ast
import doctest
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import fahr_hf.clinical

SOURCE = Path(fahr_hf.clinical.__file__)
NAMES = fahr_hf.clinical.__all__


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_an_import_costs_nothing_and_names_bring_what_they_need_but_no_gpl_package():
    python(
        "import sys, fahr_hf.clinical\n"
        "heavy = {'numpy', 'pandas', 'scipy', 'torch', 'sksurv', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "from fahr_hf.clinical import *\n"
        "assert callable(cox_regression) and callable(concordance)\n"
        "assert not {'sksurv', 'torch'} & set(sys.modules)"
    )


def test_a_file_called_like_its_function_does_not_take_its_place():
    python(
        "import fahr_hf.clinical.discrimination, fahr_hf.clinical.kaplan_meier\n"
        "from fahr_hf.clinical import concordance, kaplan_meier\n"
        "assert callable(concordance) and callable(kaplan_meier) and callable(fahr_hf.clinical.concordance)\n"
        "from fahr_hf.clinical.concordance import count_pairs"
    )


@pytest.mark.parametrize("missing", ["pandas", "scipy"])
def test_without_the_extra_the_message_says_what_to_install(missing):
    said = python(
        f"import sys; sys.modules['{missing}'] = None\n"
        "try:\n    from fahr_hf.clinical import cox_regression\n"
        "except ImportError as error:\n    print(error)"
    )
    assert said == f"cox_regression needs {missing}: pip install 'fahr-hf[clinical]'.\n"


@pytest.mark.parametrize("name", NAMES)
def test_every_name_says_what_it_is_and_shows_it(name):
    value = getattr(fahr_hf.clinical, name)
    assert callable(value)
    assert value.__module__.startswith("fahr_hf.clinical.")
    assert "\n\nExamples:\n    >>> " in inspect.getdoc(value)


@pytest.mark.parametrize("home", sorted(fahr_hf.clinical._NAMES))
def test_the_examples_in_docstrings_run(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where examples that write a file put it
    module = import_module(f"fahr_hf.clinical.{home}")
    assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def test_type_checkers_see_the_same_names():
    block = next(node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == {name: f"fahr_hf.clinical.{home}" for name, home in fahr_hf.clinical._HOMES.items()}
    assert sorted(seen) == NAMES
    assert set(NAMES) <= set(dir(fahr_hf.clinical))


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'cox_'"):
        _ = fahr_hf.clinical.cox_


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        (
            "cox_regression",
            "(data, duration, event, covariates, *, entry=None, ties='efron', strata=None, cluster=None)",
        ),
        ("likelihood_ratio_test", "(reduced, full)"),
        ("proportional_hazards_test", "(result, transform='km')"),
        ("concordance", "(event, time, risk, entry=None)"),
        ("compare_concordance", "(event, time, risk_a, risk_b, entry=None)"),
        ("uno_concordance", "(event, time, risk, tau=None)"),
        ("auc_over_time", "(event, time, risk, times)"),
        ("brier_score", "(event, time, survival, times)"),
        ("integrated_brier_score", "(event, time, survival, times)"),
        ("risk_groups", "(risk, n=4, cuts=None)"),
        ("kaplan_meier", "(duration, event, entry=None, *, conf_type='log', level=0.95)"),
        ("follow_up", "(duration, event, entry=None, *, level=0.95)"),
        ("log_rank_test", "(duration, event, group, *, entry=None, strata=None, rho=0.0, trend=False)"),
        ("aalen_johansen", "(duration, cause, entry=None, *, level=0.95)"),
        ("survival_report", "(data, settings, external=None, sources=None)"),
        ("net_benefit", "(event, time, probability, horizon, thresholds, entry=None)"),
    ],
)
def test_what_people_type_stays(name, signature):
    arguments = inspect.signature(getattr(fahr_hf.clinical, name)).parameters.values()
    without_types = [argument.replace(annotation=inspect.Parameter.empty) for argument in arguments]
    assert str(inspect.Signature(without_types)) == signature
