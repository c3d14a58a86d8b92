"""Planted wrong answers: each must fail with its own hint. `# %% exercise: name`, then the hint that must appear, then the answer."""
# %% text-mean-pool: no mask
# hint: the padding is in the mean
def my_pool(hidden, mask):
    v = hidden.mean(1)
    return v / np.linalg.norm(v, axis=1, keepdims=True)
# %% text-mean-pool: first token
# hint: this is the first token only
def my_pool(hidden, mask):
    v = hidden[:, 0]
    return v / np.linalg.norm(v, axis=1, keepdims=True)
# %% text-mean-pool: no length
# hint: but not of length one
def my_pool(hidden, mask):
    return (hidden * mask[:, :, None]).sum(1) / np.maximum(mask.sum(1), 1)[:, None]
# %% text-mean-pool: empty text
# hint: a text without tokens gave 0/0
def my_pool(hidden, mask):
    v = (hidden * mask[:, :, None]).sum(1) / mask.sum(1)[:, None]
    return v / np.linalg.norm(v, axis=1, keepdims=True)
# %% text-mean-pool: maximum
# hint: the largest entry of each direction
def my_pool(hidden, mask):
    v = (hidden * mask[:, :, None]).max(1)
    return v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12)
# %% text-anisotropy: with the diagonal
# hint: compared with itself
def my_anisotropy(x):
    u = x / np.linalg.norm(x, axis=1, keepdims=True)
    return (u @ u.T).mean()
# %% text-anisotropy: products
# hint: these are products, not cosines
def my_anisotropy(x):
    g = x @ x.T
    return (g.sum() - np.trace(g)) / (len(x) * (len(x) - 1))
# %% text-anisotropy: n squared
# hint: not n squared
def my_anisotropy(x):
    u = x / np.linalg.norm(x, axis=1, keepdims=True)
    return ((u @ u.T).sum() - len(u)) / len(u) ** 2
# %% text-anisotropy: centred
# hint: that is the remedy, not the measure
def my_anisotropy(x):
    x = x - x.mean(0)
    u = x / np.linalg.norm(x, axis=1, keepdims=True)
    return ((u @ u.T).sum() - len(u)) / (len(u) * (len(u) - 1))
# %% text-bridge: no popularity
# hint: popularity is missing
def my_bridge(history, source, target, source_users, target_users, beta):
    g = (history * source_users ** -0.5) @ source
    return g / np.maximum(np.linalg.norm(g, axis=1, keepdims=True), 1e-12) @ target.T
# %% text-bridge: no logarithm
# hint: enters by its logarithm
def my_bridge(history, source, target, source_users, target_users, beta):
    g = (history * source_users ** -0.5) @ source
    return g / np.maximum(np.linalg.norm(g, axis=1, keepdims=True), 1e-12) @ target.T + beta * target_users
# %% text-bridge: items alike
# hint: rare ones say more
def my_bridge(history, source, target, source_users, target_users, beta):
    g = history @ source
    return g / np.maximum(np.linalg.norm(g, axis=1, keepdims=True), 1e-12) @ target.T + beta * np.log(1 + target_users)
# %% text-bridge: no length
# hint: must have length one
def my_bridge(history, source, target, source_users, target_users, beta):
    return (history * source_users ** -0.5) @ source @ target.T + beta * np.log(1 + target_users)
# %% text-bridge: logarithm of zero
# hint: gave infinity
def my_bridge(history, source, target, source_users, target_users, beta):
    g = (history * source_users ** -0.5) @ source
    return g / np.maximum(np.linalg.norm(g, axis=1, keepdims=True), 1e-12) @ target.T + beta * np.log(target_users)
# %% text-translate: everything
# hint: only the nearest n may
def my_translation(source, target, n):
    cos = np.maximum(source @ target.T, 0)
    return cos / np.maximum(cos.sum(1, keepdims=True), 1e-12)
# %% text-translate: no sum
# hint: rows must sum to one
def my_translation(source, target, n):
    cos = np.maximum(source @ target.T, 0)
    keep, best = np.zeros_like(cos), np.argsort(-cos, axis=1)[:, :n]
    np.put_along_axis(keep, best, np.take_along_axis(cos, best, 1), 1)
    return keep
# %% text-translate: columns
# hint: columns sum to one here
def my_translation(source, target, n):
    cos = np.maximum(source @ target.T, 0)
    keep, best = np.zeros_like(cos), np.argsort(-cos, axis=1)[:, :n]
    np.put_along_axis(keep, best, np.take_along_axis(cos, best, 1), 1)
    return keep / np.maximum(keep.sum(0, keepdims=True), 1e-12)
# %% text-translate: negative
# hint: a negative cosine is not a translation
def my_translation(source, target, n):
    cos = source @ target.T
    keep, best = np.zeros_like(cos), np.argsort(-cos, axis=1)[:, :n]
    np.put_along_axis(keep, best, np.take_along_axis(cos, best, 1), 1)
    return keep / np.maximum(np.abs(keep).sum(1, keepdims=True), 1e-12)
# %% text-translate: like nothing
# hint: a source item that is like nothing
def my_translation(source, target, n):
    cos = np.maximum(source @ target.T, 0)
    keep, best = np.zeros_like(cos), np.argsort(-cos, axis=1)[:, :n]
    np.put_along_axis(keep, best, np.take_along_axis(cos, best, 1), 1)
    return keep / keep.sum(1, keepdims=True)
# %% text-translate: all alike
# hint: nearer ones count for more
def my_translation(source, target, n):
    cos = np.maximum(source @ target.T, 0)
    keep, best = np.zeros_like(cos), np.argsort(-cos, axis=1)[:, :n]
    np.put_along_axis(keep, best, np.take_along_axis(cos, best, 1), 1)
    keep = (keep > 0) * 1.0
    return keep / np.maximum(keep.sum(1, keepdims=True), 1)
