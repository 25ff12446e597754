"""What the functions of log-ratios ask of their arguments, and the checks."""

import numpy as np
import pytest

from refnce import logz
from refnce.array import backend, validation
from tests.libraries import FUNCTIONS, Library, arguments, call, names_of

TAKES_NU = [name for name in FUNCTIONS if not name.startswith("ence")]
TAKES_F = [name for name in FUNCTIONS if "F" in names_of(name)]
HUGE = pytest.param(10**5000, id="huge")  # too long to be written out
SAMPLES = [name for name in FUNCTIONS if not name.startswith("expfam")]
EACH = pytest.mark.parametrize(
    ("name", "argument"), [(name, x) for name in FUNCTIONS for x in names_of(name)]
)


@pytest.fixture(scope="module")
def strict():
    return Library(backend.STRICT)


def replaced(name, which, change):
    """The arguments of ``name`` with ``change`` applied to the one called ``which``."""
    pairs = zip(names_of(name), arguments(name), strict=True)
    return [change(x) if label == which else x for label, x in pairs]


@pytest.mark.parametrize("side", ["data", "noise"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_samples(name, side):
    argument = f"{'r' if name in SAMPLES else 'offset'}_{side}"
    args = replaced(name, argument, lambda x: x[..., :0])
    if name not in SAMPLES:
        T = names_of(name).index(f"T_{side}")
        args[T] = args[T][..., :0, :]
    message = rf"{argument} must have at least one sample.*shape \((3, )?0,?\)"
    with pytest.raises(ValueError, match=message):
        call(name, *args)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_number_in_place_of_samples(name):
    with pytest.raises(ValueError, match=r"r_noise .*one sample.*shape \(\)"):
        call(name, *replaced(name, "r_noise", lambda x: np.asarray(0.5)))


@EACH
def test_nan_anywhere(name, argument, strict):
    def spoil(x):
        x = x.copy()
        x.reshape(-1)[1] = np.nan
        return x

    args = replaced(name, argument, spoil)
    for convert in (np.asarray, strict):
        message = rf"{argument} (holds 1 NaN|must be finite; got NaN)"
        with pytest.raises(ValueError, match=message):
            call(name, *map(convert, args))


@EACH
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.astype("int64"), r"\b{} must .*int64.*convert"),
        (lambda x: x.astype("float32"), "one dtype|must have the dtype"),
        (lambda x: x.astype(">f8"), "{} must hold .*; got >f8: convert it first"),
        (lambda x: "1.0", "{} must be"),
        (lambda x: None, "{} must be"),
        (lambda x: object(), "{} must be"),
    ],
    ids=["integers", "float32", "big-endian", "str", "None", "object"],
)
def test_wrong_dtypes_and_types(name, argument, change, message):
    with pytest.raises(TypeError, match=message.format(argument)):
        call(name, *replaced(name, argument, change))


@EACH
def test_mixed_libraries_and_devices(name, argument, strict):
    with pytest.raises(TypeError, match="must be arrays of one library"):
        call(name, *replaced(name, argument, strict))
    pairs = zip(names_of(name), arguments(name), strict=True)
    args = [strict(x) if k == argument else strict.xp.asarray(x) for k, x in pairs]
    with pytest.raises(ValueError, match="must be on one device; got .*device1.*move"):
        call(name, *args)


@pytest.mark.parametrize("name", TAKES_NU)
@pytest.mark.parametrize(
    "nu", [0, -1.0, 1e-31, 1e31, np.inf, np.nan, "1", None, True, 1j, [1.0], HUGE]
)
def test_bad_nu(name, nu):
    error = TypeError if type(nu) is list else ValueError
    says = r"\bnu (must be a number > 0, from 1e-30 to 1e30 .*; got|is a list)"
    with pytest.raises(error, match=says):
        call(name, *arguments(name), nu=nu)


@pytest.mark.parametrize("name", TAKES_F)
@pytest.mark.parametrize("F", [np.nan, np.inf, -np.inf, HUGE])
def test_F_that_is_not_finite(name, F):
    with pytest.raises(ValueError, match="F must be finite"):
        call(name, *replaced(name, "F", lambda x: F))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_leading_shapes_that_do_not_broadcast(name):
    """Two runs in the first argument, three on the noise side."""
    args = []
    for label, x in zip(names_of(name), arguments(name), strict=True):
        noise = np.broadcast_to(x, (3, *x.shape)).copy() if "noise" in label else x
        args.append(x[:2] if label in ("r_data", "T_data", "offset_data") else noise)
    with pytest.raises(ValueError, match=r"do not broadcast: .*\(2, .*\(3, "):
        call(name, *args)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("newton", {"xtol": -1.0}, ValueError, "xtol"),
        ("bisect", {"xtol": float("nan")}, ValueError, "xtol"),
        ("bar", {"xtol": float("inf")}, ValueError, "xtol"),
        ("bar", {"step": 0.0}, ValueError, "step"),
        ("bar", {"step": 1.5}, ValueError, "step"),
        ("bar", {"max_updates": 0}, ValueError, "max_updates"),
        ("bar", {"max_updates": 2.0}, ValueError, "max_updates"),
        ("bar", {"F0": float("nan")}, ValueError, "F0 must be finite"),
        ("newton", {"F0": float("inf")}, ValueError, "F0 must be finite"),
        ("newton", {"F0": np.zeros(5)}, ValueError, "F0|do not broadcast"),
        ("bar", {"F0": np.zeros((2, 3))}, ValueError, "F0|do not broadcast"),
        ("newton", {"F0": "0"}, TypeError, "F0 must be a NumPy or CuPy array"),
        ("bar", {"F0": True}, TypeError, "F0 must be"),
        ("newton", {"F0": 10**400}, ValueError, "F0 must be"),
        ("newton", {"xtol": 10**400}, ValueError, "xtol must be"),
    ],
)
def test_bad_options_of_the_solvers(name, options, error, message):
    with pytest.raises(error, match=message):
        getattr(logz, name)(*arguments(f"logz.{name}"), **options)


@pytest.mark.parametrize("n", [3, 512, validation.SHORT + 1])
@pytest.mark.parametrize("convert", [np.asarray, np.float32, "strict"])
def test_one_nan_is_found_and_infinities_are_none(n, convert, strict):
    convert = strict if convert == "strict" else convert
    x = np.full(n, np.inf)
    x[::2] = -np.inf
    for y in (x, np.full(n, np.inf), np.full(n, 1e30)):
        validation.samples(convert(y), convert(-y), 0.0)
    x[n // 2] = np.nan
    for pair in ((x, np.zeros(1)), (np.zeros(1), x)):
        with pytest.raises(ValueError, match=rf"holds 1 NaN in shape \({n},\)"):
            validation.samples(*map(convert, pair), 0.0)


def test_samples_are_copied_only_to_make_them_contiguous():
    r_data, r_noise, _ = arguments("nce.loss")
    pair = validation.samples(r_data[0], r_noise, 0.5)[0].pair
    assert pair[0].base is r_data and pair[1] is r_noise
    pair = validation.samples(np.asarray(r_data.T, order="C").T, r_noise, 0.0)[0].pair
    assert pair[0].flags.c_contiguous
