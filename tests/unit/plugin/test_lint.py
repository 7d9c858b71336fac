"""`lint`: what is wrong in a file is found without a cluster."""

import io
from pathlib import Path

import pytest

from kubectl_scaleset.__main__ import run

ROOT = Path(__file__).parents[3]
HEAD = "apiVersion: scaleset.dev/v1beta1\n"
POLICY = HEAD + "kind: UpgradePolicy\nmetadata: {name: careful}\nspec: "
SET = HEAD + "kind: ScaleSet\nmetadata: {name: web}\nspec:\n  template: {spec: {containers: [{name: app, any: 1}]}}\n  "


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"{POLICY}{{healthTimeout: 5m}}", "PT5M or P1DT12H. 5m is PT5M there."),
        (f"{POLICY}{{healthTimeOut: PT5M}}", "spec.healthTimeOut: unknown field; did you mean healthTimeout?"),
        (
            f"{POLICY}{{rollingUpgradePolicy: {{maxBatchInstancePercent: 0}}}}",
            "spec.rollingUpgradePolicy.maxBatchInstancePercent: found 0",
        ),
        (f"{SET}imageReference: {{publisher: a, offer: b}}", "spec.imageReference.sku: found nothing"),
        (
            f"{HEAD}kind: ScaleSets\nmetadata: {{name: x}}",
            "ScaleSets is no kind of scaleset.dev; did you mean ScaleSet?",
        ),
        ("apiVersion: scaleset.dev/v1\nkind: ScaleSet\nmetadata: {name: x}", "write scaleset.dev/v1beta1"),
        (f"{HEAD}kind: UpgradePolicy\nspec: {{}}", "metadata.name: found nothing"),
        ("a: [", "no YAML"),
    ],
)
def test_a_mistake_is_named_with_its_place(text, problem, tmp_path, capsys):
    path = tmp_path / "file.yaml"
    path.write_text(text)
    assert run(["lint", "-f", str(path)]) == 1
    told = capsys.readouterr()
    assert problem in told.out
    assert told.out.startswith(str(path))
    assert told.out.splitlines()[-1].endswith("1 wrong.")


def test_a_good_file_and_other_kinds_pass(tmp_path, capsys):
    image = "imageReference: {publisher: a, offer: b, sku: c, version: latest}"
    text = f"{SET}{image}\n---\napiVersion: v1\nkind: ConfigMap\n---\n{POLICY}{{}}\n"
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "all.yml").write_text(text)
    assert run(["lint", "-f", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "2 objects checked, nothing wrong.\n"


def test_every_sample_of_ours_passes(capsys):
    assert run(["lint", "-f", str(ROOT / "deploy" / "samples")]) == 0
    assert capsys.readouterr().out.endswith("nothing wrong.\n")


def test_standard_input_and_lists_are_read(monkeypatch, capsys):
    item = f"{POLICY}{{x: 1}}".replace("\n", "\n  ")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"kind: List\napiVersion: v1\nitems:\n- {item}\n"))
    assert run(["lint", "-f", "-"]) == 1
    assert "standard input: UpgradePolicy careful: spec.x: unknown field" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot be read: No such file"), ("kind: Pod", "No object of ours is in")]
)
def test_a_file_with_nothing_to_check_is_an_error(content, words, tmp_path, capsys):
    if content is not None:
        (tmp_path / "f.yaml").write_text(content)
    assert run(["lint", "-f", str(tmp_path / "f.yaml")]) == 1
    assert words in capsys.readouterr().err
