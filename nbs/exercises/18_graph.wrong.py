"""Planted wrong answers: each must fail with its own hint. `# %% exercise: name`, then the hint that must appear, then the answer."""
# %% graph-normalised: nobody checked for zero
# hint: somebody without edges was divided by zero
def my_normalised(rows):
    return rows / np.sqrt(rows.sum(1, keepdims=True) * rows.sum(0))
# %% graph-normalised: shares
# hint: these are shares of each person
def my_normalised(rows):
    return rows / np.maximum(rows.sum(1, keepdims=True), 1)
# %% graph-normalised: no square roots
# hint: the square roots are missing
def my_normalised(rows):
    return rows / np.maximum(rows.sum(1, keepdims=True) * rows.sum(0), 1)
# %% graph-normalised: one end
# hint: only one end of the edge
def my_normalised(rows):
    return rows / np.sqrt(np.maximum(rows.sum(0), 1))
# %% graph-normalised: numbers of edges
# hint: degrees are sums of weights
def my_normalised(rows):
    edges = rows > 0
    return rows / np.sqrt(np.maximum(edges.sum(1, keepdims=True) * edges.sum(0), 1))
# %% graph-filter: power 0 left out
# hint: the first coefficient belongs to the power 0
def my_filter(adjacency, signal, coefficients):
    out = 0
    for c in coefficients:
        signal = adjacency @ signal
        out = out + c * signal
    return out
# %% graph-filter: wrong end
# hint: read from the wrong end
def my_filter(adjacency, signal, coefficients):
    out = coefficients[0] * signal
    for c in coefficients[1:]: out = c * signal + adjacency @ out
    return out
# %% graph-filter: powers of entries
# hint: entries were raised to the power
def my_filter(adjacency, signal, coefficients):
    return sum(c * (adjacency**k) @ signal for k, c in enumerate(coefficients))
# %% graph-filter: last layer
# hint: this is the last layer alone
def my_filter(adjacency, signal, coefficients):
    for _ in coefficients[1:]: signal = adjacency @ signal
    return coefficients[-1] * signal
# %% graph-filter: mean of terms
# hint: nothing is divided by their number
def my_filter(adjacency, signal, coefficients):
    out = 0
    for c in coefficients:
        out = out + c * signal
        signal = adjacency @ signal
    return out / len(coefficients)
# %% graph-filter: products of the matrix with itself
# hint: the matrix was multiplied by itself
def my_filter(adjacency, signal, coefficients):
    out, power = coefficients[0] * signal, adjacency
    for c in coefficients[1:]:
        out = out + c * (power @ signal)
        power = power @ adjacency
    return out
# %% graph-exchange: no roots
# hint: the square roots of the shares are missing
def my_exchange(target_message, source_message, n_target, n_source, source_weight, exchange):
    degree = max(n_target + source_weight * n_source, 1e-12)
    common = n_target / degree * target_message + source_weight * n_source / degree * source_message
    return (1 - exchange) * target_message + exchange * common
# %% graph-exchange: no weight
# hint: the weight of a source edge was forgotten
def my_exchange(target_message, source_message, n_target, n_source, source_weight, exchange):
    degree = max(n_target + n_source, 1e-12)
    common = np.sqrt(n_target / degree) * target_message + np.sqrt(n_source / degree) * source_message
    return (1 - exchange) * target_message + exchange * common
# %% graph-exchange: turned round
# hint: not how much is kept
def my_exchange(target_message, source_message, n_target, n_source, source_weight, exchange):
    degree = max(n_target + source_weight * n_source, 1e-12)
    common = np.sqrt(n_target / degree) * target_message + np.sqrt(source_weight * n_source / degree) * source_message
    return exchange * target_message + (1 - exchange) * common
# %% graph-exchange: the other's message
# hint: the source's message was taken for the common vector
def my_exchange(target_message, source_message, n_target, n_source, source_weight, exchange):
    return (1 - exchange) * target_message + exchange * source_message
# %% graph-exchange: division by zero
# hint: nothing is divided by zero
def my_exchange(target_message, source_message, n_target, n_source, source_weight, exchange):
    with np.errstate(all="ignore"):
        degree = np.float64(n_target + source_weight * n_source)
        common = np.sqrt(n_target / degree) * target_message + np.sqrt(source_weight * n_source / degree) * source_message
        return (1 - exchange) * target_message + exchange * common
# %% graph-reached: direct edges
# hint: only people with target edges were found
def my_reached(rows, n_target):
    return rows[:, :n_target].sum(1) > 0
# %% graph-reached: any edge
# hint: having some edge is not enough
def my_reached(rows, n_target):
    return rows.sum(1) > 0
# %% graph-reached: three edges
# hint: paths of three edges were followed
def my_reached(rows, n_target):
    direct = rows[:, :n_target].sum(1) > 0
    return ((rows @ rows.T)[:, direct].sum(1) > 0) | direct
# %% graph-reached: everybody
# hint: person 8 has no edge at all
def my_reached(rows, n_target):
    return np.ones(len(rows), bool)
