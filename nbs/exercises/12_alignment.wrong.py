"""Planted wrong answers: each must fail with its own hint. `# %% exercise: name`, then the hint that must appear, then the answer."""
# %% fair-mmd: biased
# hint: this is the biased version
def my_mmd2(source, target, width):
    return gaussian(source, source, width).mean() + gaussian(target, target, width).mean() - 2 * gaussian(source, target, width).mean()
# %% fair-mmd: wrong number of pairs
# hint: divide by the number of pairs that are left
def my_mmd2(source, target, width):
    off = lambda k: k.sum() - k.diagonal().sum()
    return off(gaussian(source, source, width)) / len(source)**2 + off(gaussian(target, target, width)) / len(target)**2 - 2 * gaussian(source, target, width).mean()
# %% fair-mmd: mixed pairs once
# hint: the mixed pairs count twice
def my_mmd2(source, target, width):
    off = lambda k: (k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))
    return off(gaussian(source, source, width)) + off(gaussian(target, target, width)) - gaussian(source, target, width).mean()
# %% fair-mmd: cut at zero
# hint: it is never negative
def my_mmd2(source, target, width):
    off = lambda k: (k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))
    return (off(gaussian(source, source, width)) + off(gaussian(target, target, width)) - 2 * gaussian(source, target, width).mean()).clamp_min(0)
# %% coral-turn: only whitened
# hint: the mapped cloud is white
def my_coral(source, target, rotation):
    values, vectors = torch.linalg.eigh(cov(source))
    return (vectors * values**-0.5) @ vectors.T @ rotation
# %% coral-turn: rotation ignored
# hint: the rotation has no effect
def my_coral(source, target, rotation):
    def power(c, p):
        values, vectors = torch.linalg.eigh(c)
        return (vectors * values**p) @ vectors.T
    return power(cov(source), -0.5) @ power(cov(target), 0.5)
# %% coral-turn: wrong way round
# hint: this sends the target onto the source
def my_coral(source, target, rotation):
    def power(c, p):
        values, vectors = torch.linalg.eigh(c)
        return (vectors * values**p) @ vectors.T
    return power(cov(target), -0.5) @ rotation @ power(cov(source), 0.5)
# %% coral-turn: rotation before the whitening
# hint: it belongs between the two steps
def my_coral(source, target, rotation):
    def power(c, p):
        values, vectors = torch.linalg.eigh(c)
        return (vectors * values**p) @ vectors.T
    return rotation @ power(cov(source), -0.5) @ power(cov(target), 0.5)
# %% coral-turn: no roots
# hint: whiten with the root of the covariance
def my_coral(source, target, rotation):
    return torch.linalg.inv(cov(source)) @ rotation @ cov(target)
# %% log-sinkhorn: everybody has mass one
# hint: does not hold a total mass of one
def my_sinkhorn(cost, epsilon):
    return torch.softmax(-cost / epsilon, 1)
# %% log-sinkhorn: rows only
# hint: one of the two sides has the wrong sums
def my_sinkhorn(cost, epsilon):
    return torch.softmax(-cost / epsilon, 1) / len(cost)
# %% log-sinkhorn: without logarithms
# hint: the exponentials underflow
def my_sinkhorn(cost, epsilon):
    kernel, v = torch.exp(-cost / epsilon), torch.ones(cost.shape[1], dtype=cost.dtype)
    for _ in range(1000):
        u = 1 / len(cost) / (kernel @ v)
        v = 1 / cost.shape[1] / (kernel.T @ u)
    return u[:, None] * kernel * v
# %% log-sinkhorn: epsilon twice
# hint: the cost enters with another strength
def my_sinkhorn(cost, epsilon):
    n, m = cost.shape
    scaled, f, g = cost / (2 * epsilon), torch.zeros(n, dtype=cost.dtype), torch.zeros(m, dtype=cost.dtype)
    for _ in range(1000):
        f = -torch.tensor(float(n)).log() - torch.logsumexp(g - scaled, 1)
        g = -torch.tensor(float(m)).log() - torch.logsumexp(f[:, None] - scaled, 0)
    return torch.exp(f[:, None] + g - scaled)
# %% towards: plain ridge
# hint: this is plain ridge
def my_ridge_towards(source, target, prior, alpha):
    return torch.linalg.solve(source.T @ source + alpha * torch.eye(source.shape[1], dtype=source.dtype), source.T @ target)
# %% towards: prior counted twice
# hint: what it explains is counted twice
def my_ridge_towards(source, target, prior, alpha):
    return prior + torch.linalg.solve(source.T @ source + alpha * torch.eye(source.shape[1], dtype=source.dtype), source.T @ target)
# %% towards: average of the two
# hint: with a huge penalty the prior must come back
def my_ridge_towards(source, target, prior, alpha):
    return (prior + torch.linalg.solve(source.T @ source + alpha * torch.eye(source.shape[1], dtype=source.dtype), source.T @ target)) / 2
# %% towards: penalty squared
# hint: the penalty alpha enters as alpha itself
def my_ridge_towards(source, target, prior, alpha):
    return prior + torch.linalg.solve(source.T @ source + alpha**2 * torch.eye(source.shape[1], dtype=source.dtype), source.T @ (target - source @ prior))
# %% two-worlds: one world
# hint: in one of the two worlds
def my_average_error(guess, truth):
    return (guess - truth).square().sum(1).mean()
# %% two-worlds: averaged over dimensions
# hint: you averaged over both
def my_average_error(guess, truth):
    return guess.square().mean() + truth.square().mean()
# %% two-worlds: added
# hint: were added, not averaged
def my_average_error(guess, truth):
    return 2 * (guess.square().sum(1).mean() + truth.square().sum(1).mean())
# %% two-worlds: only the guess
# hint: predicting the mean costs the variance once
def my_average_error(guess, truth):
    return guess.square().sum(1).mean()
