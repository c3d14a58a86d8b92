"""Planted wrong answers: each must fail with its own hint. `# %% exercise: name`, then the hint that must appear, then the answer."""
# %% stacked_tables: the roots stay in the traits
# hint: the traits still carry the roots of the weights
def my_collective(x, y, omega, rank):
    u, s, v = torch.linalg.svd(torch.cat([omega**0.5 * x, (1 - omega)**0.5 * y], 1), full_matrices=False)
    return u[:, :rank] * s[:rank], v[:rank].T[:x.shape[1]], v[:rank].T[x.shape[1]:]
# %% stacked_tables: weights the other way round
# hint: weights the other way round
def my_collective(x, y, omega, rank):
    u, s, v = torch.linalg.svd(torch.cat([(1 - omega)**0.5 * x, omega**0.5 * y], 1), full_matrices=False)
    return u[:, :rank] * s[:rank], v[:rank].T[:x.shape[1]] / (1 - omega)**0.5, v[:rank].T[x.shape[1]:] / omega**0.5
# %% stacked_tables: no weights
# hint: omega is not used
def my_collective(x, y, omega, rank):
    u, s, v = torch.linalg.svd(torch.cat([x, y], 1), full_matrices=False)
    return u[:, :rank] * s[:rank], v[:rank].T[:x.shape[1]], v[:rank].T[x.shape[1]:]
# %% stacked_tables: weights instead of their roots
# hint: it is their roots
def my_collective(x, y, omega, rank):
    u, s, v = torch.linalg.svd(torch.cat([omega * x, (1 - omega) * y], 1), full_matrices=False)
    return u[:, :rank] * s[:rank], v[:rank].T[:x.shape[1]] / omega, v[:rank].T[x.shape[1]:] / (1 - omega)
# %% stacked_tables: each table for itself
# hint: not the smallest possible value
def my_collective(x, y, omega, rank):
    u, s, v = torch.linalg.svd(x, full_matrices=False)
    p = u[:, :rank] * s[:rank]
    return p, v[:rank].T, torch.linalg.lstsq(p, y).solution.T
# %% half_step: newcomers like nothing
# hint: not a row of zeros
def my_person(s, t, v, z, omega, alpha, l2):
    s, t = (torch.zeros(len(m), dtype=m.dtype) if row is None else row for row, m in ((s, v), (t, z)))
    left, right = l2 * torch.eye(v.shape[1], dtype=v.dtype), torch.zeros(v.shape[1], dtype=v.dtype)
    for w, row, traits in zip((omega, 1 - omega), (s, t), (v, z)):
        left = left + w * traits.T @ ((1 + alpha * row)[:, None] * traits)
        right = right + w * (1 + alpha) * traits.T @ row
    return torch.linalg.solve(left, right)
# %% half_step: omega for people of one domain
# hint: weight one there, whatever omega is
def my_person(s, t, v, z, omega, alpha, l2):
    left, right = l2 * torch.eye(v.shape[1], dtype=v.dtype), torch.zeros(v.shape[1], dtype=v.dtype)
    for w, row, traits in zip((omega, 1 - omega), (s, t), (v, z)):
        if row is None: continue
        left = left + w * traits.T @ ((1 + alpha * row)[:, None] * traits)
        right = right + w * (1 + alpha) * traits.T @ row
    return torch.linalg.solve(left, right)
# %% half_step: weights only on the left
# hint: the right side lacks the weights
def my_person(s, t, v, z, omega, alpha, l2):
    weights = (omega, 1 - omega) if s is not None and t is not None else (1.0, 1.0)
    left, right = l2 * torch.eye(v.shape[1], dtype=v.dtype), torch.zeros(v.shape[1], dtype=v.dtype)
    for w, row, traits in zip(weights, (s, t), (v, z)):
        if row is None: continue
        left = left + w * traits.T @ ((1 + alpha * row)[:, None] * traits)
        right = right + (1 + alpha) * traits.T @ row
    return torch.linalg.solve(left, right)
# %% half_step: choices only
# hint: the blanks are missing
def my_person(s, t, v, z, omega, alpha, l2):
    weights = (omega, 1 - omega) if s is not None and t is not None else (1.0, 1.0)
    left, right = l2 * torch.eye(v.shape[1], dtype=v.dtype), torch.zeros(v.shape[1], dtype=v.dtype)
    for w, row, traits in zip(weights, (s, t), (v, z)):
        if row is None: continue
        left = left + w * traits.T @ ((alpha * row)[:, None] * traits)
        right = right + w * (1 + alpha) * traits.T @ row
    return torch.linalg.solve(left, right)
# %% half_step: weight of a choice forgotten on the right
# hint: on the right side too
def my_person(s, t, v, z, omega, alpha, l2):
    weights = (omega, 1 - omega) if s is not None and t is not None else (1.0, 1.0)
    left, right = l2 * torch.eye(v.shape[1], dtype=v.dtype), torch.zeros(v.shape[1], dtype=v.dtype)
    for w, row, traits in zip(weights, (s, t), (v, z)):
        if row is None: continue
        left = left + w * traits.T @ ((1 + alpha * row)[:, None] * traits)
        right = right + w * traits.T @ row
    return torch.linalg.solve(left, right)
# %% half_step: weights interchanged
# hint: the wrong way round
def my_person(s, t, v, z, omega, alpha, l2):
    weights = (1 - omega, omega) if s is not None and t is not None else (1.0, 1.0)
    left, right = l2 * torch.eye(v.shape[1], dtype=v.dtype), torch.zeros(v.shape[1], dtype=v.dtype)
    for w, row, traits in zip(weights, (s, t), (v, z)):
        if row is None: continue
        left = left + w * traits.T @ ((1 + alpha * row)[:, None] * traits)
        right = right + w * (1 + alpha) * traits.T @ row
    return torch.linalg.solve(left, right)
# %% who_pays: the source is not pulled
# hint: its bias is missing
def my_verdict(delta2, d, sigma, n_s, n_t, w):
    source, target = d * sigma**2 / n_s, d * sigma**2 / n_t
    return (1 - w)**2 * target + w**2 * (source + delta2) - target, w**2 * source + (1 - w)**2 * target - source
# %% who_pays: one formula for both
# hint: pulled by 1 - w
def my_verdict(delta2, d, sigma, n_s, n_t, w):
    change = w**2 * (delta2 - d * sigma**2 * (1 / n_s + 1 / n_t))
    return (0.0 if w == 0 else change), change
# %% who_pays: domains interchanged
# hint: w is the weight of the source
def my_verdict(delta2, d, sigma, n_s, n_t, w):
    if w == 0: return 0.0, 0.0
    size = delta2 - d * sigma**2 * (1 / n_s + 1 / n_t)
    return (1 - w)**2 * size, w**2 * size
# %% who_pays: natural weights only
# hint: use (14.5), not (14.6)
def my_verdict(delta2, d, sigma, n_s, n_t, w):
    size = delta2 - d * sigma**2 * (1 / n_s + 1 / n_t)
    return w**2 * size, (1 - w)**2 * size
# %% who_pays: alone minus shared
# hint: shared minus alone
def my_verdict(delta2, d, sigma, n_s, n_t, w):
    source, target = d * sigma**2 / n_s, d * sigma**2 / n_t
    return target - (1 - w)**2 * target - w**2 * (source + delta2), source - w**2 * source - (1 - w)**2 * (target + delta2)
# %% surgery: the sum
# hint: the plain sum was returned
def my_surgery(first, second):
    return first + second
# %% surgery: always cut
# hint: nothing is to be cut
def my_surgery(first, second):
    dot = first @ second
    return first - dot / (second @ second) * second + second - dot / (first @ first) * first
# %% surgery: one side only
# hint: only one of the two
def my_surgery(first, second):
    dot = first @ second
    if dot >= 0: return first + second
    return first - dot / (second @ second) * second + second
# %% surgery: one after the other
# hint: its original is meant
def my_surgery(first, second):
    dot = first @ second
    if dot >= 0: return first + second
    changed = first - dot / (second @ second) * second
    return changed + second - (changed @ second) / (changed @ changed) * changed
# %% surgery: not divided
# hint: divides by the squared length
def my_surgery(first, second):
    dot = first @ second
    if dot >= 0: return first + second
    return first - dot * second + second - dot * first
