"""Planted wrong answers: each must fail with its own hint. `# %% exercise: name`, then the hint that must appear, then the answer."""
# %% codebook-means: unknown cells as zeros
# hint: unknown cells were counted as zeros
def my_codebook(x, mask, user_group, item_group, k, l):
    U, V = np.eye(k)[user_group], np.eye(l)[item_group]
    return (U.T @ x @ V) / np.outer(U.sum(0), V.sum(0))
# %% codebook-means: sum
# hint: this is the sum of each block
def my_codebook(x, mask, user_group, item_group, k, l):
    return np.eye(k)[user_group].T @ x @ np.eye(l)[item_group]
# %% codebook-means: by people
# hint: divided by the number of people in the group
def my_codebook(x, mask, user_group, item_group, k, l):
    U, V = np.eye(k)[user_group], np.eye(l)[item_group]
    return (U.T @ x @ V) / U.sum(0)[:, None]
# %% codebook-means: empty block
# hint: a block without known cells has no mean
def my_codebook(x, mask, user_group, item_group, k, l):
    U, V = np.eye(k)[user_group], np.eye(l)[item_group]
    with np.errstate(all="ignore"): return (U.T @ x @ V) / (U.T @ mask @ V)
# %% codebook-means: mean of people's means
# hint: this is a mean of people's means
def my_codebook(x, mask, user_group, item_group, k, l):
    V, out = np.eye(l)[item_group], np.zeros((k, l))
    for a in range(k):
        for b in range(l):
            means = [x[u] @ V[:, b] / (mask[u] @ V[:, b]) for u in np.flatnonzero(user_group == a) if mask[u] @ V[:, b] > 0]
            out[a, b] = np.mean(means) if means else 0
    return out
# %% memberships-soft: no shares
# hint: the shares have no say
def my_memberships(costs, shares, noise):
    log = -costs / (2 * noise)
    p = np.exp(log - log.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)
# %% memberships-soft: sign
# hint: prefers the groups that fit worst
def my_memberships(costs, shares, noise):
    log = np.log(shares) + costs / (2 * noise)
    p = np.exp(log - log.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)
# %% memberships-soft: no two
# hint: the two of the Gaussian's exponent is missing
def my_memberships(costs, shares, noise):
    log = np.log(shares) - costs / noise
    p = np.exp(log - log.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)
# %% memberships-soft: variance squared
# hint: noise is a variance already
def my_memberships(costs, shares, noise):
    log = np.log(shares) - costs / (2 * noise**2)
    p = np.exp(log - log.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)
# %% memberships-soft: overflow
# hint: subtract the largest logarithm
def my_memberships(costs, shares, noise):
    p = shares * np.exp(-costs / (2 * noise))
    return p / p.sum(axis=1, keepdims=True)
# %% memberships-soft: wrong axis
# hint: those of a person's groups must
def my_memberships(costs, shares, noise):
    log = np.log(shares) - costs / (2 * noise)
    log = log - log.max(axis=0, keepdims=True)
    return np.exp(log) / np.exp(log).sum(axis=0, keepdims=True)
# %% soft-gradient: no T squared
# hint: the gradient vanishes like one over T squared
def my_soft_gradient(student, teacher, temperature):
    def soft(x): e = np.exp(x / temperature); return e / e.sum()
    return (soft(student) - soft(teacher)) / temperature
# %% soft-gradient: one power missing
# hint: one power of the temperature is missing
def my_soft_gradient(student, teacher, temperature):
    def soft(x): e = np.exp(x / temperature); return e / e.sum()
    return soft(student) - soft(teacher)
# %% soft-gradient: chain rule forgotten
# hint: the chain rule was forgotten
def my_soft_gradient(student, teacher, temperature):
    def soft(x): e = np.exp(x / temperature); return e / e.sum()
    return temperature**2 * (soft(student) - soft(teacher))
# %% soft-gradient: sign
# hint: moves away from the teacher
def my_soft_gradient(student, teacher, temperature):
    def soft(x): e = np.exp(x / temperature); return e / e.sum()
    return temperature * (soft(teacher) - soft(student))
# %% soft-gradient: only the teacher is softened
# hint: softened by the same temperature
def my_soft_gradient(student, teacher, temperature):
    def soft(x, T): e = np.exp(x / T); return e / e.sum()
    return temperature * (soft(student, 1.0) - soft(teacher, temperature))
# %% spread-values: values of strangers
# hint: the values of people who are not known were used
def my_spread(weights, known, values, pull, alone):
    laplacian = np.diag(weights.sum(1)) - weights
    return np.linalg.solve(np.diag(known.astype(float)) + pull * (laplacian + alone * np.eye(len(weights))), values)
# %% spread-values: newcomers are zero
# hint: newcomers were given the value zero
def my_spread(weights, known, values, pull, alone):
    laplacian = np.diag(weights.sum(1)) - weights
    return np.linalg.solve(np.eye(len(weights)) + pull * (laplacian + alone * np.eye(len(weights))), np.where(known, values, 0.0))
# %% spread-values: weights for Laplacian
# hint: the weights stand where the Laplacian belongs
def my_spread(weights, known, values, pull, alone):
    return np.linalg.solve(np.diag(known.astype(float)) + pull * (weights + alone * np.eye(len(weights))), np.where(known, values, 0.0))
# %% spread-values: alone without pull
# hint: the pull to zero is pull times alone
def my_spread(weights, known, values, pull, alone):
    laplacian = np.diag(weights.sum(1)) - weights
    return np.linalg.solve(np.diag(known.astype(float)) + pull * laplacian + alone * np.eye(len(weights)), np.where(known, values, 0.0))
# %% spread-values: half
# hint: the penalty was halved
def my_spread(weights, known, values, pull, alone):
    laplacian = np.diag(weights.sum(1)) - weights
    return np.linalg.solve(np.diag(known.astype(float)) + 0.5 * pull * (laplacian + alone * np.eye(len(weights))), np.where(known, values, 0.0))
# %% spread-values: alone forgotten
# hint: alone was forgotten
def my_spread(weights, known, values, pull, alone):
    laplacian = np.diag(weights.sum(1)) - weights
    return np.linalg.solve(np.diag(known.astype(float)) + pull * laplacian, np.where(known, values, 0.0))
