"""Planted wrong answers: each must fail with its own hint. `# %% exercise: name`, then the hint that must appear, then the answer."""
# %% witnesses: a prior for every expert
# hint: the prior was counted once for every expert
def my_product(means, precisions):
    total = (1 + precisions).sum(0)
    return (means * precisions).sum(0) / total, 1 / total
# %% witnesses: no prior
# hint: the prior is missing
def my_product(means, precisions):
    total = precisions.sum(0)
    return (means * precisions).sum(0) / total, 1 / total
# %% witnesses: mixture
# hint: this averages the means
def my_product(means, precisions):
    return means.mean(0), 1 / (1 + precisions.sum(0))
# %% witnesses: precisions as variances
# hint: you were given precisions
def my_product(means, precisions):
    total = 1 + (1 / precisions).sum(0)
    return (means / precisions).sum(0) / total, 1 / total
# %% witnesses: precision returned
# hint: this is the precision of the product
def my_product(means, precisions):
    total = 1 + precisions.sum(0)
    return (means * precisions).sum(0) / total, total
# %% witnesses: log-variance returned
# hint: this is the log-variance
def my_product(means, precisions):
    total = 1 + precisions.sum(0)
    return (means * precisions).sum(0) / total, -total.log()
# %% witnesses: standard deviation returned
# hint: this is the standard deviation
def my_product(means, precisions):
    total = 1 + precisions.sum(0)
    return (means * precisions).sum(0) / total, total ** -0.5
# %% user-prior: direction turned
# hint: the direction is turned
def my_user_kl(mean_t, log_var_t, mean_s, log_var_s):
    return 0.5 * (log_var_t - log_var_s + (log_var_s.exp() + (mean_t - mean_s) ** 2) / log_var_t.exp() - 1).sum(-1)
# %% user-prior: mean over latent numbers
# hint: this is a mean over the latent numbers
def my_user_kl(mean_t, log_var_t, mean_s, log_var_s):
    return 0.5 * (log_var_s - log_var_t + (log_var_t.exp() + (mean_t - mean_s) ** 2) / log_var_s.exp() - 1).mean(-1)
# %% user-prior: half forgotten
# hint: the factor one half is missing
def my_user_kl(mean_t, log_var_t, mean_s, log_var_s):
    return (log_var_s - log_var_t + (log_var_t.exp() + (mean_t - mean_s) ** 2) / log_var_s.exp() - 1).sum(-1)
# %% user-prior: standard normal
# hint: this is the divergence from the standard normal
def my_user_kl(mean_t, log_var_t, mean_s, log_var_s):
    return -0.5 * (1 + log_var_t - mean_t**2 - log_var_t.exp()).sum(-1)
# %% user-prior: log-variance as variance
# hint: log-variances were used as variances
def my_user_kl(mean_t, log_var_t, mean_s, log_var_s):
    return 0.5 * (log_var_s - log_var_t + (log_var_t + (mean_t - mean_s) ** 2) / log_var_s - 1).sum(-1)
# %% shelves: one softmax
# hint: one softmax runs over both shelves
def my_explained(film_logits, book_logits, films, books):
    return (torch.cat([films, books], 1) * torch.cat([film_logits, book_logits], 1).log_softmax(-1)).sum(-1)
# %% shelves: softmax over people
# hint: the softmax runs over the people
def my_explained(film_logits, book_logits, films, books):
    return (films * film_logits.log_softmax(0)).sum(-1) + (books * book_logits.log_softmax(0)).sum(-1)
# %% shelves: no logarithm
# hint: these are probabilities
def my_explained(film_logits, book_logits, films, books):
    return (films * film_logits.softmax(-1)).sum(-1) + (books * book_logits.softmax(-1)).sum(-1)
# %% shelves: mean over items
# hint: each shelf was averaged over its items
def my_explained(film_logits, book_logits, films, books):
    return (films * film_logits.log_softmax(-1)).mean(-1) + (books * book_logits.log_softmax(-1)).mean(-1)
# %% shelves: a loss
# hint: the sign is turned
def my_explained(film_logits, book_logits, films, books):
    return -(films * film_logits.log_softmax(-1)).sum(-1) - (books * book_logits.log_softmax(-1)).sum(-1)
# %% uncertain: plain least squares
# hint: this is plain least squares on the means
def my_decoder(means, variances, rows):
    return torch.linalg.lstsq(means, rows).solution.T
# %% uncertain: mean of the variances
# hint: the variances were averaged over people
def my_decoder(means, variances, rows):
    return rows.T @ means @ torch.linalg.inv(means.T @ means + torch.diag(variances.mean(0)))
# %% uncertain: standard deviations
# hint: standard deviations were added
def my_decoder(means, variances, rows):
    return rows.T @ means @ torch.linalg.inv(means.T @ means + torch.diag(variances.sqrt().sum(0)))
# %% uncertain: one penalty
# hint: one penalty for all latent numbers
def my_decoder(means, variances, rows):
    return rows.T @ means @ torch.linalg.inv(means.T @ means + variances.sum() / 3 * torch.eye(3).double())
