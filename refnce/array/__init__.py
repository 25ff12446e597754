"""Array libraries, argument checks, checked log-ratios, error-free arithmetic."""

from refnce.array.backend import Array, BLOCK, all_true, array_namespace
from refnce.array.backend import asarray, device, host, ignore_fp_errors, is_numpy
from refnce.array.backend import machine_eps, make_rng, to_numpy, where
from refnce.array.chunks import beside, is_lazy, over_chunks, over_samples, part_of
from refnce.array.chunks import shipped
from refnce.array.interop import interoperable
from refnce.array.ratios import HUGE, Ratios, where_certified
from refnce.array.special import dot, last_sum, log_double_double, two_product, two_sum
from refnce.array.validation import check_arrays, check_count, check_finite, check_nu
from refnce.array.validation import check_positive, family, invalid, runs_shape, samples
from refnce.array.validation import shape_of, shown
