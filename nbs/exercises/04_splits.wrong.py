"""Planted wrong answers: each must fail with its own hint. `# %% exercise: name`, then the hint that must appear, then the answer."""
# %% cold_rows: random rows
# hint: not some
def my_cold_rows(source_users, target_users, n_cold, generator):
    return generator.random(len(target_users)) < 0.2
# %% cold_rows: users of the target alone
# hint: draw among the users of both domains
def my_cold_rows(source_users, target_users, n_cold, generator):
    return np.isin(target_users, generator.choice(np.unique(target_users), n_cold, replace=False))
# %% cold_rows: drawn with replacement from rows
# hint: draw without replacement
def my_cold_rows(source_users, target_users, n_cold, generator):
    shared = np.intersect1d(source_users, target_users)
    return np.isin(target_users, shared[generator.integers(0, 5, n_cold)])
# %% cold_rows: first users instead of drawn ones
# hint: use the generator
def my_cold_rows(source_users, target_users, n_cold, generator):
    return np.isin(target_users, np.intersect1d(source_users, target_users)[:n_cold])
# %% jaccard: transposed
# hint: source items in rows
def my_jaccard(source, target):
    both = target.T @ source
    return both / np.maximum(target.sum(0)[:, None] + source.sum(0)[None, :] - both, 1)
# %% jaccard: overlap coefficient
# hint: not by the smaller
def my_jaccard(source, target):
    return source.T @ target / np.maximum(np.minimum(source.sum(0)[:, None], target.sum(0)[None, :]), 1)
# %% jaccard: cosine
# hint: this is the cosine
def my_jaccard(source, target):
    return source.T @ target / np.maximum(np.sqrt(source.sum(0)[:, None] * target.sum(0)[None, :]), 1)
# %% jaccard: both counted twice
# hint: counted twice
def my_jaccard(source, target):
    return source.T @ target / np.maximum(source.sum(0)[:, None] + target.sum(0)[None, :], 1)
# %% jaccard: division by zero
# hint: must give 0
def my_jaccard(source, target):
    both = source.T @ target
    return both / (source.sum(0)[:, None] + target.sum(0)[None, :] - both)
# %% leaked: anybody's source rows
# hint: not what anybody has
def my_leaked(source_rows, test_rows, twins):
    known = {t for _, s in source_rows for a, t in twins if a == s}
    users = {u for u, _ in source_rows}
    return [t in known and u in users for u, t in test_rows]
# %% leaked: one twin per item
# hint: the second one was lost
def my_leaked(source_rows, test_rows, twins):
    twin_of = {}
    for s, t in twins: twin_of.setdefault(s, t)
    readable = {(u, twin_of[s]) for u, s in source_rows if s in twin_of}
    return [row in readable for row in test_rows]
# %% leaked: any item with a twin
# hint: a twin somewhere is not yet a leak
def my_leaked(source_rows, test_rows, twins):
    have = dict.fromkeys(t for _, t in twins)
    own = {}
    for u, s in source_rows: own.setdefault(u, set()).add(s)
    return [t in have and (u not in own or any(a in own[u] and b == t for a, b in twins)) for u, t in test_rows]
