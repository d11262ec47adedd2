"""A call of each function that SciPy declares to work on any Array API namespace.

CALLS maps a function's name in scipy to an expression over `values(rng)` and the namespace `xp`;
scipy's modules stand under their names. A row without an expression is called as in its group.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# names on the left of a colon are called with what stands on its right
_GROUPS = """
special.*(u): entr erf erfc erfinv expit gammaln i0 i0e i1 i1e log_ndtr logit ndtr ndtri digamma
special.*(u): cbrt cosdg cosm1 cotdg ellipk ellipkm1 erfcx exp1 exp10 exp2 exprel expi gamma
special.*(u): gammasgn j0 j1 k0 k0e k1 k1e loggamma rgamma sinc sindg spence tandg y0 y1 zetac
special.*(p, u): gammainc gammaincc rel_entr xlog1py xlogy betaln binom boxcox boxcox1p huber kl_div
special.*(p, u): poch pseudo_huber inv_boxcox inv_boxcox1p stdtr stdtrit gammaincinv gammainccinv
special.*(p, u): chdtr chdtrc chdtri
special.*(p, p, u): betainc betaincc betaincinv fdtr fdtrc fdtri gdtr gdtrc hyp1f1
special.*(k, k + 4, u): bdtr bdtrc bdtri
special.*(xp.floor(k), k + 4, u): nbdtr nbdtrc nbdtri
special.*(k, u): pdtr pdtrc pdtri
special.*(x): softmax log_softmax logsumexp
fft.*(z): fft ifft fftn ifftn fft2 ifft2 irfft irfftn irfft2 hfft hfftn hfft2
fft.*(m): rfft rfftn rfft2 ihfft ihfftn ihfft2 dct idct dst idst dctn idctn dstn idstn
fft.*(m): fftshift ifftshift
stats.*(p): entropy differential_entropy gmean hmean tmean tvar tmin tmax tstd tsem moment skew
stats.*(p): kurtosis describe skewtest kurtosistest normaltest jarque_bera sem zscore gzscore gstd
stats.*(p): iqr median_abs_deviation sigmaclip chisquare power_divergence variation kstat kstatvar
stats.*(p): circmean circvar circstd lmoment rankdata
stats.*(x, y): pearsonr ttest_ind ttest_rel ks_2samp brunnermunzel cramervonmises_2samp ansari
stats.*(x, y): wilcoxon mannwhitneyu spearmanrho mood chatterjeexi epps_singleton_2samp
stats.*(x, y, x * y): f_oneway levene bartlett fligner kruskal friedmanchisquare alexandergovern
signal.*(4, xp=xp): besselap buttap
signal.windows.*(9, xp=xp): boxcar triang parzen bohman blackman nuttall flattop
signal.windows.*(9, xp=xp): bartlett hann tukey barthann hamming cosine exponential lanczos
signal.windows.*(9, xp=xp): taylor blackmanharris
signal.*(c, d): freqs freqz sos2x lp2lp lp2hp lp2bp lp2bs bilinear normalize tf2sos tf2zpk
signal.*(c, d): lfilter_zi
signal.*(r, r / 2, 1.5): freqs_zpk freqz_zpk lp2lp_zpk lp2hp_zpk zpk2sos zpk2tf
signal.*(r, r / 2, 1.5, 2.0): lp2bp_zpk lp2bs_zpk
signal.*(sos): sos2tf sos2zpk freqz_sos sosfreqz sosfilt_zi
signal.*(s): detrend hilbert medfilt wiener cspline1d qspline1d envelope
signal.*(img): hilbert2 medfilt2d
signal.*(pic): cspline2d qspline2d spline_filter
signal.*(s, s[:9]): convolve correlate fftconvolve oaconvolve choose_conv_method
signal.*(img, img[:3, :3]): convolve2d correlate2d
ndimage.*(img): find_objects_ laplace prewitt sobel spline_filter spline_filter1d
ndimage.*(b): binary_closing binary_dilation binary_erosion binary_fill_holes binary_hit_or_miss
ndimage.*(b): binary_opening distance_transform_bf distance_transform_cdt distance_transform_edt
ndimage.*(b): label
ndimage.*(b, mask=b): binary_propagation
ndimage.*(img, 3): black_tophat grey_closing grey_dilation grey_erosion grey_opening maximum_filter
ndimage.*(img, 3): maximum_filter1d median_filter minimum_filter minimum_filter1d
ndimage.*(img, 3): morphological_gradient morphological_laplace uniform_filter uniform_filter1d
ndimage.*(img, 3): white_tophat
ndimage.*(img, lab, two): center_of_mass extrema maximum maximum_position mean median minimum
ndimage.*(img, lab, two): minimum_position standard_deviation sum sum_labels variance
ndimage.*(img, img[:3, :3]): convolve correlate
ndimage.*(img, img[0, :3]): convolve1d correlate1d
ndimage.*(img, 1.5): gaussian_filter gaussian_filter1d gaussian_gradient_magnitude gaussian_laplace
ndimage.*(img, 1.5): shift zoom
ndimage.*(z, 1.5): fourier_ellipsoid fourier_gaussian fourier_shift fourier_uniform
cluster.hierarchy.*(dist): single complete average weighted linkage
cluster.hierarchy.*(pts): centroid median ward
cluster.hierarchy.*(Z): to_mlab_linkage is_monotonic is_valid_linkage num_obs_linkage cophenet
cluster.hierarchy.*(Z): inconsistent leaves_list maxdists
"""

_SINGLE = {
    "special.multigammaln": "special.multigammaln(p + 3, 2)",
    "special.polygamma": "special.polygamma(2, p)",
    "special.zeta": "special.zeta(p + 1, p)",
    "special.expn": "special.expn(k, u)",
    "special.yn": "special.yn(k, p)",
    "special.lpmv": "special.lpmv(k * 0 + 1, k, u)",
    "special.radian": "special.radian(p, p, p)",
    "fft.fht": "fft.fht(s, 0.1, 0.5)", "fft.ifht": "fft.ifht(s, 0.1, 0.5)",
    "fft.fftfreq": "fft.fftfreq(7, xp=xp)", "fft.rfftfreq": "fft.rfftfreq(7, xp=xp)",
    "stats.bootstrap": "stats.bootstrap((x,), take_mean, n_resamples=20, method='percentile', "
                       "rng=np.random.default_rng(0))",
    "stats.monte_carlo_test": "stats.monte_carlo_test(x, lambda size: uniform(size), take_mean, "
                              "n_resamples=20, vectorized=True)",
    "stats.power": "stats.power(lambda x, axis: stats.ttest_1samp(x, 0.1, axis=axis), "
                   "lambda size: uniform(size), 9, n_resamples=20, vectorized=True)",
    "stats.permutation_test": "stats.permutation_test((x, y), lambda x, y, axis: take_mean(x, axis)"
                              " - take_mean(y, axis), n_resamples=20, vectorized=True, "
                              "rng=np.random.default_rng(0))",
    "stats.pmean": "stats.pmean(p, 3)", "stats.mode": "stats.mode(k)",
    "stats.zmap": "stats.zmap(x, y)", "stats.trim_mean": "stats.trim_mean(x, 0.1)",
    "stats.boxcox_llf": "stats.boxcox_llf(0.5, p)",
    "stats.yeojohnson_llf": "stats.yeojohnson_llf(0.5, x)",
    "stats.chisquare": "stats.chisquare(p, p[::-1])",
    "stats.power_divergence": "stats.power_divergence(p, p[::-1])",
    "stats.directional_stats": "stats.directional_stats(m)",
    "stats.false_discovery_control": "stats.false_discovery_control(u)",
    "stats.quantile": "stats.quantile(x, 0.3)",
    "stats.ttest_1samp": "stats.ttest_1samp(x, 0.1)",
    "stats.ttest_ind_from_stats": "stats.ttest_ind_from_stats(p, p, 9, p + 1, p, 8)",
    "stats.ks_1samp": "stats.ks_1samp(x, special.ndtr)",
    "stats.combine_pvalues": "stats.combine_pvalues(u)",
    "stats.cramervonmises": "stats.cramervonmises(x, special.ndtr)",
    "stats.epps_singleton_2samp": "stats.epps_singleton_2samp(x, y)",
    "signal.abcd_normalize": "signal.abcd_normalize(q, q[:, :1], q[:1], q[:1, :1])",
    "signal.bode": "signal.bode((c, d))", "signal.impulse": "signal.impulse((c, d))",
    "signal.cheb1ap": "signal.cheb1ap(4, 1, xp=xp)",
    "signal.cheb2ap": "signal.cheb2ap(4, 20, xp=xp)",
    "signal.ellipap": "signal.ellipap(4, 1, 20, xp=xp)",
    "signal.filtfilt": "signal.filtfilt(c, d, s)",
    "signal.gammatone": "signal.gammatone(440, 'fir', fs=16000, numtaps=9, xp=xp)",
    "signal.gauss_spline": "signal.gauss_spline(x, 3)",
    "signal.get_window": "signal.get_window('hann', 9, xp=xp)",
    "signal.windows.get_window": "signal.windows.get_window(('kaiser', 4.0), 9, xp=xp)",
    "signal.iircomb": "signal.iircomb(0.2, 30, xp=xp)",
    "signal.iirnotch": "signal.iirnotch(0.2, 30, xp=xp)",
    "signal.iirpeak": "signal.iirpeak(0.2, 30, xp=xp)",
    "signal.iirdesign": "signal.iirdesign(xp.asarray(0.2), xp.asarray(0.4), 1, 40)",
    "signal.place_poles": "signal.place_poles(q, q[:, :3], poles).gain_matrix",
    "signal.savgol_coeffs": "signal.savgol_coeffs(7, 2, xp=xp)",
    "signal.butter": "signal.butter(3, f)", "signal.bessel": "signal.bessel(3, f)",
    "signal.cheby1": "signal.cheby1(3, 1, f)", "signal.cheby2": "signal.cheby2(3, 20, f)",
    "signal.ellip": "signal.ellip(3, 1, 20, f)", "signal.iirfilter": "signal.iirfilter(3, band)",
    "signal.buttord": "signal.buttord(f, f + 0.2, 1, 20)",
    "signal.cheb1ord": "signal.cheb1ord(f, f + 0.2, 1, 20)",
    "signal.cheb2ord": "signal.cheb2ord(f, f + 0.2, 1, 20)",
    "signal.ellipord": "signal.ellipord(f, f + 0.2, 1, 20)",
    "signal.bilinear_zpk": "signal.bilinear_zpk(r, r / 2, 1.5, 2.0)",
    "signal.cspline1d_eval": "signal.cspline1d_eval(s, s[:9] + 2)",
    "signal.qspline1d_eval": "signal.qspline1d_eval(s, s[:9] + 2)",
    "signal.deconvolve": "signal.deconvolve(s, c)",
    "signal.firls": "signal.firls(9, bands, ideal)",
    "signal.remez": "signal.remez(9, bands / 2, ideal[:2])",
    "signal.firwin": "signal.firwin(9, f)",
    "signal.firwin2": "signal.firwin2(9, bands, ideal)",
    "signal.group_delay": "signal.group_delay((c, d))",
    "signal.lfilter": "signal.lfilter(c, d, s)", "signal.lfiltic": "signal.lfiltic(c, d, x[:2])",
    "signal.minimum_phase": "signal.minimum_phase(signal.windows.hann(9, xp=xp))",
    "signal.order_filter": "signal.order_filter(img, img[:3, :3] * 0 + 1, 2)",
    "signal.resample": "signal.resample(s, 30)",
    "signal.resample_poly": "signal.resample_poly(s, 3, 2)",
    "signal.savgol_filter": "signal.savgol_filter(s, 7, 2)",
    "signal.sosfilt": "signal.sosfilt(sos, s)",
    "signal.sosfiltfilt": "signal.sosfiltfilt(sos, s)",
    "signal.upfirdn": "signal.upfirdn(c, s, 2, 3)",
    "signal.vectorstrength": "signal.vectorstrength(p, 2.0)",
    "signal.cont2discrete": "signal.cont2discrete((q, q[:, :1], q[:1], q[:1, :1]), 0.1)",
    "signal.czt": "signal.czt(s, 9)", "signal.decimate": "signal.decimate(s, 2)",
    "signal.dimpulse": "signal.dimpulse((c, d, 0.1), n=5)",
    "signal.invres": "signal.invres(r, r * 2, c)",
    "signal.invresz": "signal.invresz(r, r * 2, c)",
    "signal.residue": "signal.residue(c, d)", "signal.residuez": "signal.residuez(c, d)",
    "signal.unique_roots": "signal.unique_roots(r)",
    "signal.windows.general_cosine": "signal.windows.general_cosine(9, c)",
    "signal.windows.general_hamming": "signal.windows.general_hamming(9, 0.6, xp=xp)",
    "signal.windows.kaiser": "signal.windows.kaiser(9, 3.0, xp=xp)",
    "signal.windows.kaiser_bessel_derived":
        "signal.windows.kaiser_bessel_derived(8, 3.0, xp=xp)",
    "signal.windows.gaussian": "signal.windows.gaussian(9, 2.0, xp=xp)",
    "signal.windows.general_gaussian": "signal.windows.general_gaussian(9, 1.5, 2.0, xp=xp)",
    "signal.windows.chebwin": "signal.windows.chebwin(9, 60, xp=xp)",
    "ndimage.affine_transform": "ndimage.affine_transform(img, q[:2, :2])",
    "ndimage.find_objects": "ndimage.find_objects(lab)",
    "ndimage.generic_filter": "ndimage.generic_filter(img, np.max, 3)",
    "ndimage.generic_filter1d": "ndimage.generic_filter1d(img, copy_line, 3)",
    "ndimage.generic_gradient_magnitude":
        "ndimage.generic_gradient_magnitude(img, ndimage.sobel)",
    "ndimage.generic_laplace": "ndimage.generic_laplace(img, second_difference)",
    "ndimage.geometric_transform": "ndimage.geometric_transform(img, lambda at: at)",
    "ndimage.histogram": "ndimage.histogram(img, -2, 2, 5)",
    "ndimage.iterate_structure": "ndimage.iterate_structure(b[:3, :3], 2)",
    "ndimage.labeled_comprehension":
        "ndimage.labeled_comprehension(img, lab, [1, 2], np.mean, np.float64, 0)",
    "ndimage.map_coordinates": "ndimage.map_coordinates(img, xp.stack((p, p)))",
    "ndimage.percentile_filter": "ndimage.percentile_filter(img, 30, 3)",
    "ndimage.rank_filter": "ndimage.rank_filter(img, 2, 3)",
    "ndimage.rotate": "ndimage.rotate(img, 30.0)",
    "ndimage.value_indices": "ndimage.value_indices(lab)",
    "ndimage.vectorized_filter": "ndimage.vectorized_filter(img, xp.max, size=3)",
    "ndimage.watershed_ift":
        "ndimage.watershed_ift(xp.astype(lab, xp.uint8), xp.astype(lab, xp.int16))",
    "cluster.vq.whiten": "cluster.vq.whiten(pts)",
    "cluster.vq.vq": "cluster.vq.vq(pts, pts[:3])",
    "cluster.vq.kmeans": "cluster.vq.kmeans(pts, pts[:3])",
    "cluster.vq.kmeans2": "cluster.vq.kmeans2(pts, pts[:3], minit='matrix')",
    "cluster.hierarchy.to_tree": "cluster.hierarchy.to_tree(Z).dist",
    "cluster.hierarchy.is_valid_im": "cluster.hierarchy.is_valid_im(R)",
    "cluster.hierarchy.correspond": "cluster.hierarchy.correspond(Z, dist)",
    "cluster.hierarchy.is_isomorphic": "cluster.hierarchy.is_isomorphic(flat, flat[::-1])",
    "cluster.hierarchy.optimal_leaf_ordering": "cluster.hierarchy.optimal_leaf_ordering(Z, dist)",
    "cluster.hierarchy.from_mlab_linkage":
        "cluster.hierarchy.from_mlab_linkage(cluster.hierarchy.to_mlab_linkage(Z))",
    "cluster.hierarchy.fcluster": "cluster.hierarchy.fcluster(Z, 1.0)",
    "cluster.hierarchy.fclusterdata": "cluster.hierarchy.fclusterdata(pts, 1.0)",
    "cluster.hierarchy.dendrogram": "cluster.hierarchy.dendrogram(Z, no_plot=True)['icoord']",
    "cluster.hierarchy.maxinconsts": "cluster.hierarchy.maxinconsts(Z, R)",
    "cluster.hierarchy.maxRstat": "cluster.hierarchy.maxRstat(Z, R, 3)",
    "cluster.hierarchy.leaders": "cluster.hierarchy.leaders(Z, flat)",
    "integrate.trapezoid": "integrate.trapezoid(m, axis=0)",
    "integrate.cumulative_trapezoid": "integrate.cumulative_trapezoid(x)",
    "integrate.cumulative_simpson": "integrate.cumulative_simpson(x)",
    "integrate.romb": "integrate.romb(s[:9])",
    "integrate.qmc_quad": "integrate.qmc_quad(lambda v: xp.sum(v, axis=0), x[:2] * 0, "
                          "x[:2] * 0 + 1, n_points=64, qrng=stats.qmc.Halton(2, seed=1))",
    "integrate.tanhsinh": "integrate.tanhsinh(xp.exp, u, u + 1).integral",
    "integrate.nsum": "integrate.nsum(lambda v: 1 / v ** 2, p * 0 + 1, p * 0 + 50).sum",
    "integrate.cubature": "integrate.cubature(lambda v: xp.sum(v ** 2, axis=-1), x[:2] * 0, "
                          "x[:2] * 0 + 1).estimate",
    "differentiate.derivative": "differentiate.derivative(xp.exp, x).df",
    "differentiate.jacobian": "differentiate.jacobian(xp.sin, x[:3]).df",
    "differentiate.hessian": "differentiate.hessian(lambda v: xp.sum(v ** 3, axis=0), x[:3]).ddf",
    "interpolate.RBFInterpolator": "interpolate.RBFInterpolator(pts, pts[:, 0])(pts[:3] / 2)",
    "interpolate.BSpline": "interpolate.BSpline(xp.arange(10.0), x[:6], 3)(p + 3)",
    "interpolate.make_interp_spline": "interpolate.make_interp_spline(n, x)(p)",
    "interpolate.make_lsq_spline": "interpolate.make_lsq_spline(n, x, knots)(p)",
    "interpolate.make_smoothing_spline": "interpolate.make_smoothing_spline(n, x)(p)",
    "interpolate.PPoly": "interpolate.PPoly(m, xp.arange(5.0))(p)",
    "interpolate.BPoly": "interpolate.BPoly(m, xp.arange(5.0))(p)",
    "interpolate.CubicHermiteSpline": "interpolate.CubicHermiteSpline(n, x, y)(p)",
    "interpolate.PchipInterpolator": "interpolate.PchipInterpolator(n, x)(p)",
    "interpolate.Akima1DInterpolator": "interpolate.Akima1DInterpolator(n, x)(p)",
    "interpolate.CubicSpline": "interpolate.CubicSpline(n, x)(p)",
    "interpolate.generate_knots": "list(interpolate.generate_knots(n, x, s=1.0))",
    "interpolate.make_splrep": "interpolate.make_splrep(n, x, s=1.0)(p)",
    "interpolate.make_splprep": "interpolate.make_splprep([n, x], s=1.0)[0](u)",
    "interpolate.NdBSpline":
        "interpolate.NdBSpline((xp.arange(10.0), xp.arange(10.0)), q, 3)(pts[:3] * 0 + 4)",
    "interpolate.RegularGridInterpolator":
        "interpolate.RegularGridInterpolator((n, xp.arange(4.0)), m)(xp.stack((p, u), axis=-1))",
    "linalg.block_diag": "linalg.block_diag(q, m)", "linalg.fiedler": "linalg.fiedler(x)",
    "linalg.orthogonal_procrustes": "linalg.orthogonal_procrustes(q, q + 1)",
    "optimize.rosen": "optimize.rosen(x)", "optimize.rosen_der": "optimize.rosen_der(x)",
    "optimize.rosen_hess": "optimize.rosen_hess(x)",
    "optimize.rosen_hess_prod": "optimize.rosen_hess_prod(x, y)",
    "optimize.elementwise.find_root":
        "optimize.elementwise.find_root(lambda v: v ** 3 - 1.5, (u, u + 2)).x",
    "optimize.elementwise.find_minimum":
        "optimize.elementwise.find_minimum(lambda v: (v - 1.5) ** 2, (u, u + 1, u + 3)).x",
    "optimize.elementwise.bracket_root":
        "optimize.elementwise.bracket_root(lambda v: v - 1.5, u).bracket",
    "optimize.elementwise.bracket_minimum":
        "optimize.elementwise.bracket_minimum(lambda v: (v - 2) ** 2, u).bracket",
    "constants.convert_temperature": "constants.convert_temperature(p, 'C', 'K')",
    "constants.lambda2nu": "constants.lambda2nu(p)",
    "constants.nu2lambda": "constants.nu2lambda(p)",
}


def _calls() -> dict[str, str]:
    found = {}
    for line in _GROUPS.strip().splitlines():
        form, _, names = line.partition("): ")
        module, _, rest = form.partition(".*(")
        for name in names.split():
            found[f"{module}.{name}"] = f"{module}.{name}({rest})"
    for left in ("signal.sos2x", "ndimage.find_objects_", "stats.ks_2samp"):
        found.pop(left, None)
    return {**found, **_SINGLE}


CALLS = _calls()


def values() -> dict[str, Any]:
    """The operands by name, as NumPy arrays: what is random comes from one seed."""
    rng = np.random.default_rng(0)
    x, m, pts = rng.normal(size=12), rng.normal(size=(12, 4)), rng.normal(size=(9, 2))
    gaps = np.abs(pts[:, None] - pts).sum(-1)[np.triu_indices(9, 1)]
    lab = np.zeros((9, 10), np.int32)
    lab[1:4, 2:5], lab[5:8, 1:9] = 1, 2
    return {
        "x": x, "y": rng.normal(size=12) + 0.3 * x, "m": m, "q": rng.normal(size=(6, 6)),
        "p": rng.uniform(0.5, 3, 12), "u": rng.uniform(0.05, 0.95, 12),
        "k": rng.integers(1, 4, 12).astype(float), "n": np.arange(12.0),
        "z": m + 1j * rng.normal(size=(12, 4)), "s": np.sin(np.arange(40.0) ** 1.2),
        "img": rng.normal(size=(9, 10)), "b": rng.normal(size=(9, 10)) > -0.3, "lab": lab,
        "pic": rng.normal(size=(40, 40)), "two": np.array([1, 2]),
        "pts": pts, "dist": gaps, "c": np.array([1.0, 0.4, 0.2]), "d": np.array([1.0, -0.3, 0.1]),
        "r": np.array([0.5 + 0.1j, 0.5 - 0.1j, -0.4]), "f": np.asarray(0.3),
        "band": np.array([0.2, 0.5]), "bands": np.array([0.0, 0.3, 0.5, 1.0]),
        "ideal": np.array([1.0, 1.0, 0.0, 0.0]), "poles": -np.arange(1.0, 7.0),
        "knots": np.array([0.0, 0, 0, 0, 4, 7, 11, 11, 11, 11]),
        "sos": np.array([[0.2, 0.4, 0.2, 1.0, -0.4, 0.2], [0.3, 0.1, 0.2, 1.0, 0.2, 0.1]])}
