"""Planted wrong answers: each must fail with its own hint. `# %% exercise: name`, then the hint that must appear, then the answer."""
# %% merge-cost: no masses
# hint: the masses have no say
def my_merge_cost(centre_a, mass_a, centre_b, mass_b):
    return np.sum((centre_a - centre_b) ** 2)
# %% merge-cost: distance
# hint: this is the distance, and not its square
def my_merge_cost(centre_a, mass_a, centre_b, mass_b):
    return mass_a * mass_b / (mass_a + mass_b) * np.linalg.norm(centre_a - centre_b)
# %% merge-cost: all the way
# hint: both groups were moved all the way
def my_merge_cost(centre_a, mass_a, centre_b, mass_b):
    return (mass_a + mass_b) * np.sum((centre_a - centre_b) ** 2)
# %% merge-cost: half way
# hint: the new centre was put half way
def my_merge_cost(centre_a, mass_a, centre_b, mass_b):
    new = (centre_a + centre_b) / 2
    return mass_a * np.sum((centre_a - new) ** 2) + mass_b * np.sum((centre_b - new) ** 2)
# %% log-odds-prior: no prior
# hint: must not give minus infinity
def my_log_odds(group, catalogue, prior):
    with np.errstate(all="ignore"):
        rest = catalogue - group
        return np.log(group / (group.sum() - group)) - np.log(rest / (rest.sum() - rest))
# %% log-odds-prior: whole catalogue
# hint: it must be compared with the rest
def my_log_odds(group, catalogue, prior):
    alpha = prior * catalogue / catalogue.sum()
    odds = lambda c: np.log((c + alpha) / (c.sum() + prior - c - alpha))
    return odds(group) - odds(catalogue)
# %% log-odds-prior: shares
# hint: logarithms of shares and not of odds
def my_log_odds(group, catalogue, prior):
    alpha, rest = prior * catalogue / catalogue.sum(), catalogue - group
    return np.log((group + alpha) / (group.sum() + prior)) - np.log((rest + alpha) / (rest.sum() + prior))
# %% log-odds-prior: flat prior
# hint: it must speak like the catalogue
def my_log_odds(group, catalogue, prior):
    alpha, rest = prior / len(group), catalogue - group
    odds = lambda c: np.log((c + alpha) / (c.sum() + prior - c - alpha))
    return odds(group) - odds(rest)
# %% log-odds-prior: sign
# hint: the sign is turned
def my_log_odds(group, catalogue, prior):
    alpha, rest = prior * catalogue / catalogue.sum(), catalogue - group
    odds = lambda c: np.log((c + alpha) / (c.sum() + prior - c - alpha))
    return odds(rest) - odds(group)
# %% interest-falls: responsibilities
# hint: these are the responsibilities
def my_falls(cosines, shares, temperature):
    e = shares * np.exp(cosines / temperature)
    return e / e.sum()
# %% interest-falls: sign
# hint: a fall is positive
def my_falls(cosines, shares, temperature):
    e = shares * np.exp(cosines / temperature)
    return temperature * np.log(1 - e / e.sum())
# %% interest-falls: scaled up
# hint: the other shares were scaled up again
def my_falls(cosines, shares, temperature):
    score = lambda c, p: temperature * np.log(np.sum(p * np.exp(c / temperature)))
    cut = lambda x, a: np.delete(x, a)
    return np.array([score(cosines, shares) - score(cut(cosines, a), cut(shares, a) / cut(shares, a).sum()) for a in range(len(shares))])
# %% interest-falls: no temperature
# hint: the temperature in front of the logarithm is missing
def my_falls(cosines, shares, temperature):
    e = shares * np.exp(cosines / temperature)
    return -np.log(1 - e / e.sum())
# %% interest-falls: no shares
# hint: the shares have no say
def my_falls(cosines, shares, temperature):
    e = np.exp(cosines / temperature)
    return -temperature * np.log(1 - e / e.sum())
# %% weighted-rates: counted
# hint: without asking how often there was something to like
def my_rates(shown, liked, chances):
    return np.bincount(shown, liked, chances.shape[1]) / len(shown)
# %% weighted-rates: mean chance
# hint: the chances were averaged first
def my_rates(shown, liked, chances):
    return np.bincount(shown, liked, chances.shape[1]) / len(shown) / chances.mean(0)
# %% weighted-rates: multiplied
# hint: multiplied by the chance
def my_rates(shown, liked, chances):
    return np.bincount(shown, liked * chances[np.arange(len(shown)), shown], chances.shape[1]) / len(shown)
# %% weighted-rates: divided twice
# hint: divided by the rounds in which the topic was shown
def my_rates(shown, liked, chances):
    return np.bincount(shown, liked / chances[np.arange(len(shown)), shown], chances.shape[1]) / np.bincount(shown, minlength=chances.shape[1])
# %% weighted-rates: a sum
# hint: this is a sum
def my_rates(shown, liked, chances):
    return np.bincount(shown, liked / chances[np.arange(len(shown)), shown], chances.shape[1])
