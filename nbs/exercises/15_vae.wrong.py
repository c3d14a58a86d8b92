"""Planted wrong answers: each must fail with its own hint. `# %% exercise: name`, then the hint that must appear, then the answer."""
# %% kl-term: mean over latent numbers
# hint: this is a mean over the latent numbers
def my_kl(mean, log_var):
    return -0.5 * (1 + log_var - mean**2 - log_var.exp()).mean(-1)
# %% kl-term: half forgotten
# hint: the factor one half is missing
def my_kl(mean, log_var):
    return -(1 + log_var - mean**2 - log_var.exp()).sum(-1)
# %% kl-term: log-variance as variance
# hint: the log-variance was used as the variance
def my_kl(mean, log_var):
    return -0.5 * (1 + log_var - mean**2 - log_var).sum(-1)
# %% kl-term: log of the standard deviation
# hint: read as the logarithm of the standard deviation
def my_kl(mean, log_var):
    return -0.5 * (1 + 2 * log_var - mean**2 - (2 * log_var).exp()).sum(-1)
# %% kl-term: sign turned
# hint: a divergence is never negative
def my_kl(mean, log_var):
    return 0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(-1)
# %% draw: variance as the width
# hint: the noise is scaled by the variance
def my_draw(mean, log_var, noise):
    return mean + torch.exp(log_var) * noise
# %% draw: log-variance as the width
# hint: scaled by the log-variance itself
def my_draw(mean, log_var, noise):
    return mean + log_var * noise
# %% draw: no noise
# hint: there is no noise in this draw
def my_draw(mean, log_var, noise):
    return mean + 0 * log_var
# %% draw: cut off
# hint: cut off from its parameters
def my_draw(mean, log_var, noise):
    return torch.normal(mean.detach(), torch.exp(0.5 * log_var.detach()))
# %% picks: over the people
# hint: the softmax runs over the people
def my_picks(logits, taken):
    return (taken * logits.log_softmax(0)).sum(-1)
# %% picks: softmax twice
# hint: the softmax was taken twice
def my_picks(logits, taken):
    return (taken * logits.softmax(-1).log_softmax(-1)).sum(-1)
# %% picks: mean over items
# hint: this is a mean over the items
def my_picks(logits, taken):
    return (taken * logits.log_softmax(-1)).mean(-1)
# %% picks: logarithm after softmax
# hint: softmax first and logarithm after loses all digits
def my_picks(logits, taken):
    return (taken * logits.softmax(-1).log()).sum(-1)
# %% picks: sigmoids
# hint: here items compete
def my_picks(logits, taken):
    return (taken * torch.nn.functional.logsigmoid(logits)).sum(-1)
# %% bound: mean of logarithms
# hint: the mean of the logarithms is the ELBO
def my_bound(log_weights):
    return log_weights.mean(0)
# %% bound: not divided
# hint: the bound grows with K for nothing
def my_bound(log_weights):
    return torch.logsumexp(log_weights, 0)
# %% bound: underflow
# hint: gave an infinite bound
def my_bound(log_weights):
    return log_weights.exp().mean(0).log()
# %% bound: wrong axis
# hint: the draws are the first axis
def my_bound(log_weights):
    return torch.logsumexp(log_weights, 1) - math.log(log_weights.shape[1])
# %% survivors: beta forgotten
# hint: beta has no say
def my_survivors(eigenvalues, beta, sd):
    return (eigenvalues - sd**2).clamp(min=0)
# %% survivors: standard deviation as variance
# hint: the standard deviation was used as the variance
def my_survivors(eigenvalues, beta, sd):
    return (eigenvalues - beta * sd).clamp(min=0)
# %% survivors: negative squares
# hint: a squared length is never negative
def my_survivors(eigenvalues, beta, sd):
    return eigenvalues - beta * sd**2
# %% survivors: whole variance kept
# hint: survivors keep their whole variance
def my_survivors(eigenvalues, beta, sd):
    return torch.where(eigenvalues > beta * sd**2, eigenvalues, 0 * eigenvalues)
