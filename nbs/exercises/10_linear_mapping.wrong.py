"""Planted wrong answers: each must fail with its own hint. `# %% exercise: name`, then the hint that must appear, then the answer."""
# %% ridge: transposed map
# hint: it is transposed
def my_ridge(source, target, alpha):
    return torch.linalg.solve(source.T @ source + alpha * torch.eye(source.shape[1], dtype=source.dtype), source.T @ target).T
# %% ridge: penalty forgotten
# hint: alpha is not used
def my_ridge(source, target, alpha):
    return torch.linalg.lstsq(source, target).solution
# %% ridge: penalty times n
# hint: not multiplied by n
def my_ridge(source, target, alpha):
    return torch.linalg.solve(source.T @ source / len(source) + alpha * torch.eye(source.shape[1], dtype=source.dtype), source.T @ target / len(source))
# %% ridge: penalty squared
# hint: neither squared nor as a root
def my_ridge(source, target, alpha):
    return torch.linalg.solve(source.T @ source + alpha**2 * torch.eye(source.shape[1], dtype=source.dtype), source.T @ target)
# %% intercept: forgotten
# hint: the intercept was forgotten
def my_affine(source, target, alpha):
    return my_ridge(source, target, alpha), torch.zeros(target.shape[1], dtype=target.dtype)
# %% intercept: penalised with the map
# hint: a column of ones was penalised
def my_affine(source, target, alpha):
    both = my_ridge(torch.cat([source, torch.ones(len(source), 1, dtype=source.dtype)], 1), target, alpha)
    return both[:-1], both[-1]
# %% intercept: source mean missing
# hint: the mean of the source
def my_affine(source, target, alpha):
    return my_ridge(source - source.mean(0), target - target.mean(0), alpha), target.mean(0)
# %% intercept: fitted before centring
# hint: centre before you fit
def my_affine(source, target, alpha):
    weights = my_ridge(source, target, alpha)
    return weights, target.mean(0) - source.mean(0) @ weights
# %% cold: test users in the fit
# hint: took part in the fit
def my_cold_interests(source, target, shared, alpha):
    return source[~shared] @ my_ridge(source, target, alpha)
# %% cold: returns the shared users
# hint: not the others
def my_cold_interests(source, target, shared, alpha):
    return source[shared] @ my_ridge(source[shared], target[shared], alpha)
# %% cold: first users instead of cold ones
# hint: not the cold ones
def my_cold_interests(source, target, shared, alpha):
    return source[: int((~shared).sum())] @ my_ridge(source[shared], target[shared], alpha)
# %% cold: misaligned people
# hint: different people
def my_cold_interests(source, target, shared, alpha):
    return source[~shared] @ my_ridge(source[: int(shared.sum())], target[shared], alpha)
# %% loo: training error
# hint: nobody was left out
def my_loo_error(source, target, alpha):
    return ((target - source @ my_ridge(source, target, alpha))**2).sum(1).mean()
# %% loo: divided after squaring
# hint: before it is squared
def my_loo_error(source, target, alpha):
    h = torch.diag(source @ torch.linalg.solve(source.T @ source + alpha * torch.eye(source.shape[1], dtype=source.dtype), source.T))
    return ((target - source @ my_ridge(source, target, alpha))**2 / (1 - h)[:, None]).sum(1).mean()
# %% loo: average leverage
# hint: a leverage of their own
def my_loo_error(source, target, alpha):
    h = torch.diag(source @ torch.linalg.solve(source.T @ source + alpha * torch.eye(source.shape[1], dtype=source.dtype), source.T)).mean()
    return ((target - source @ my_ridge(source, target, alpha))**2).sum(1).mean() / (1 - h)**2
# %% loo: averaged over dimensions
# hint: you averaged over both
def my_loo_error(source, target, alpha):
    h = torch.diag(source @ torch.linalg.solve(source.T @ source + alpha * torch.eye(source.shape[1], dtype=source.dtype), source.T))
    return (((target - source @ my_ridge(source, target, alpha)) / (1 - h)[:, None])**2).mean()
# %% procrustes: turned the wrong way
# hint: turns the wrong way
def my_rotation(source, target):
    u, _, vh = torch.linalg.svd(source.T @ target)
    return (u @ vh).T
# %% procrustes: singular values kept
# hint: it stretches
def my_rotation(source, target):
    return source.T @ target / len(source)
# %% procrustes: factors swapped
# hint: must be met exactly
def my_rotation(source, target):
    u, _, vh = torch.linalg.svd(source.T @ target)
    return vh.T @ u
