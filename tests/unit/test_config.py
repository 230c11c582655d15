import pytest

from nnpcore import config
from nnpcore.config import ConfigError

GOOD = """
[data]
train = "train.xyz"
valid = 0.2
e0 = {Si = -0.5}
[loss]
energy = [0.1, 1]
[train]
epochs = 10
"""


@pytest.fixture
def load(tmp_path):
    path = tmp_path / "train.toml"

    def load(text=GOOD, **kwargs):
        path.write_text(text)
        return config.load(path, **kwargs)

    return load


def test_values_and_defaults(load):
    c = load()
    assert c.data.e0 == {"Si": -0.5} and c.loss.energy == [0.1, 1.0] and c.model.hidden == [25, 25]
    assert (c.optimizer.beta1, c.optimizer.beta2, c.optimizer.eps, c.optimizer.lr) == (0.9, 0.99, 1e-9, None)
    assert c.optimizer.rate() == 0.001 and config.Optimizer(kind="adam").rate() == 0.01
    assert (c.schedule.first_cycle, c.schedule.t_mul, c.schedule.m_mul) == (2.5, 1.4, 0.9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[loss]\nenergi = 1", r"train\.toml: loss\.energi: unknown key"),
        ("[los]\nenergy = 1", r"train\.toml: los: unknown key"),
        ("[loss]\nenergy = 'x'", r"loss\.energy: expected `float \| array`, got `str`"),
        ("[loss]\nenergy = -1", r"loss\.energy: expected `float` >= 0"),
        ("[loss]\nenergy = [1, 2, 3]", r"loss\.energy: expected `array` of length <= 2"),
        ("[train]\nepochs = 0", r"train\.epochs: expected `int` >= 1"),
        ("[train]\nseed = 1.5", r"train\.seed: expected `int`, got `float`"),
        ("[data]\nvalid = 0.1", r"data\.train: missing"),
        ("[schedule]\nkind = 'linear'", r"schedule\.kind: invalid enum value 'linear'"),
        ("", r"train\.epochs or train\.max_seconds"),
        ("[train]\nepochs = 3\n[model]\nrc = 4\nrc3 = 5", r"model\.rc3 is 5\.0, expected at most model\.rc = 4\.0"),
        ("[train]\nepochs = 3\n[data]\ntrain = 'a'\nvalid = 1.5", r"data\.valid is 1\.5"),
        ("[train]\nepochs = 3\n[data]\ntrain = 'a'\ne0 = 'guess'", r"data\.e0 is 'guess'"),
        ("[train]\nepochs = 3\n[loss]\nenergy = 0\nforce = 0", r"nothing to learn"),
        ("[train]\nepochs = 3\n[schedule]\nkind = 'exponential'", r"schedule\.end is 0"),
        ("[train\nepochs = 3", r"train\.toml: not TOML: .*line 1"),
    ],
)
def test_errors_are_one_line_naming_file_key_and_expectation(load, text, expected):
    with pytest.raises(ConfigError, match=expected) as caught:
        load(text)
    assert "\n" not in str(caught.value) and "train.toml" in str(caught.value)


def test_missing_file_and_not_text(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml"):
        config.load(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF"):
        config.load(tmp_path / "bytes.toml")


def test_overrides(load):
    c = load(
        overrides=["train.epochs=3", "train.folder = out/a", "model.hidden=[8]", 'data.e0="fit"', "loss.kind=square"]
    )
    assert (c.train.epochs, c.train.folder, c.model.hidden, c.data.e0, c.loss.kind) == (
        3,
        "out/a",
        [8],
        "fit",
        "square",
    )
    with pytest.raises(ConfigError, match=r"--set epochs: expected section\.key=value"):
        load(overrides=["epochs"])
    with pytest.raises(ConfigError, match=r"data\.train\.x"):
        load(overrides=["data.train.x=3"])
    with pytest.raises(ConfigError, match=r"train\.epocs: unknown key"):
        load(overrides=["train.epocs=3"])


def test_resolved_file_reads_back_to_the_same_configuration(load, tmp_path):
    c = load(GOOD + '[model]\nbaseline = [{kind = "zbl", inner = 1.0, outer = 2}]\nn2 = [[3, 2], [1, 4]]\n')
    c.data.weights = {"a b": 2.0, 'quote"': 1.0}
    c.train.folder = 'tab\t "x" \\ \x7f é'
    text = config.dumps(c)
    assert load(text) == c and config.dumps(load(text)) == text
