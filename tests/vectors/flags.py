"""The flags of the test vectors: what a failure of such a case means."""

FLAGS = {
    "Normal": "ordinary numbers: a failure here is a wrong formula, sign, factor or"
    " argument",
    "Chasm": "data far from noise, so that both means are tiny: sums of probabilities"
    " lose everything, logarithms do not",
    "Plateau": "noise scored above data, both means near 1: their difference cancels;"
    " sum the small sides apart",
    "TinyLoss": "loss down to 1e-300: log(1 + e^x) must be log1p(e^x)",
    "Subnormal": "sigmoids under 2.2e-308: a sigmoid that flushes to 0 too early"
    " (scipy.special.expit does)",
    "Underflow": "every sigmoid of a sample underflows: the logarithm of a mean that is"
    " 0; factor the largest term out",
    "NearRoot": "F at the root, where grad_F cancels: subtract before rounding, or sum"
    " the small sides apart",
    "InputRounding": "r - F cancels: its rounding must be kept (TwoSum) or is lost",
    "Unequal": "different numbers of data and noise: means, not sums, and not the mean"
    " of all together",
    "Weight": "nu is not 1: a log nu or a factor nu or 1/(1 + nu) missing or misplaced",
    "Small": "samples of one or two numbers",
    "Ties": "equal log-ratios",
    "HeavyTail": "log-ratios of Student's t times 50: steps of Newton that leave the"
    " bracket",
    "Gap": "the root lies where neither sample has a number and the slope is nearly"
    " 0: a bracket, not a step size, must stop it",
    "CountsCancel": "two clusters whose counts cancel: between them log A - log B is 0;"
    " separate counts from small sides",
    "Huge": "log-ratios up to 1e300",
    "Large": "tens of thousands of numbers: a running sum loses digits, a pairwise one"
    " does not",
    "Infinite": "infinite log-ratios take the limit of the formula and still count in n"
    " and m",
    "NoRoot": "no finite root: its limit, or nan, and never a plausible number",
    "Edge": "where exp, expm1 and log1p change regime",
    "Batched": "leading axes are independent runs and broadcast",
    "BadInput": "what must be refused, by an exception or a status that cannot be taken"
    " for a number",
    "Kink": "a rectifier exactly at 0: its slope is that for negative numbers",
    "Stride": "stride 2, of images of even and odd sides: outputs for rows and columns"
    " 0, 2, 4, ... of those of stride 1",
    "Narrow": "images of one or two rows or columns, so that most of what a kernel sees"
    " is the zeros around",
    "Sign": 'sign "positive": f^T W f is added, where it is otherwise taken away',
    "Zero": "a gradient of 0: no step, and no nan",
    "Runs": "several steps: memory is kept from one to the next",
    "Bar": "F moves by one BAR update",
    "Gradient": "F moves by its gradient",
    "Root": "F is solved for",
    "First": "theta's gradient is taken at the new F",
    "Together": "theta's gradient is taken at the old F",
    "Rate": "F has a rate of its own, which is not 1",
    "Undamped": "a rate_F other than 1 means nothing where F is solved for",
    "Apart": "runs 2000 apart in one batch: the largest term, and the bracket, are"
    " each run's own",
    "Squares": "gradients whose squares under- or overflow: divide by the largest"
    " coordinate before the norm",
    "Sparse": "a coordinate that is 0 at some steps: both moments go on decaying, and"
    " one count of steps corrects all",
    "Status": "whether it converged is told: an easy root is CONVERGED, and no root is"
    " not",
    "Options": "F0, xtol, step or max_updates is given",
}
