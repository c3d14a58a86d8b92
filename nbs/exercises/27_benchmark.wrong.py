"""Planted wrong answers: each must fail with its own hint. `# %% exercise: name`, then the hint that must appear, then the answer."""
# %% mean-places: worst first
# hint: the worst method got place 1
def my_places(table):
    better = (table[:, None, :] < table[:, :, None]).sum(2)
    equal = (table[:, None, :] == table[:, :, None]).sum(2) - 1
    return (1 + better + 0.5 * equal).mean(0)
# %% mean-places: ties by column
# hint: ties were broken by the order of the columns
def my_places(table): return (np.argsort(np.argsort(-table, axis=1, kind="stable"), axis=1) + 1).mean(0)
# %% mean-places: best of the tied
# hint: tied methods all got the best of their places
def my_places(table): return (1 + (table[:, None, :] > table[:, :, None]).sum(2)).mean(0)
# %% mean-places: places of means
# hint: places of the mean scores
def my_places(table):
    m = table.mean(0)
    return 1 + (m[None] > m[:, None]).sum(1) + 0.5 * ((m[None] == m[:, None]).sum(1) - 1)
# %% cd-bars: chain
# hint: a chain of near neighbours is no group
def my_bars(places, difference):
    bars, first = [], 0
    for j in range(1, len(places) + 1):
        if j == len(places) or places[j] - places[j - 1] > difference:
            if j - 1 > first: bars.append((first, j - 1))
            first = j
    return bars
# %% cd-bars: single methods
# hint: a bar over a single method says nothing
def my_bars(places, difference):
    bars, reached = [], -1
    for first in range(len(places)):
        last = max(j for j in range(len(places)) if places[j] - places[first] <= difference)
        if last > reached: bars.append((first, last))
        reached = max(reached, last)
    return bars
# %% cd-bars: bars inside bars
# hint: a bar lies inside another
def my_bars(places, difference):
    last = [max(j for j in range(len(places)) if places[j] - p <= difference) for p in places]
    return [(i, l) for i, l in enumerate(last) if l > i]
# %% cd-bars: no overlap
# hint: a group is missing, or could be longer
def my_bars(places, difference):
    bars, first = [], 0
    while first < len(places):
        last = max(j for j in range(len(places)) if places[j] - places[first] <= difference)
        if last > first: bars.append((first, last))
        first = last + 1
    return bars
# %% whole-lines: half line stops
# hint: a half line stopped the reader
def my_cells(raw):
    out = {}
    for text in raw.split(b"\n"):
        line = json.loads(text)
        if line["key"] not in out or "error" in out[line["key"]]: out[line["key"]] = line
    return out
# %% whole-lines: stops at the first half line
# hint: the reader stopped at the first half line
def my_cells(raw):
    out = {}
    for text in raw.split(b"\n"):
        try: line = json.loads(text)
        except ValueError: break
        if line["key"] not in out or "error" in out[line["key"]]: out[line["key"]] = line
    return out
# %% whole-lines: last wins
# hint: a finished cell was replaced by a later line
def my_cells(raw):
    out = {}
    for text in raw.split(b"\n"):
        try: line = json.loads(text)
        except ValueError: continue
        out[line["key"]] = line
    return out
# %% whole-lines: first wins
# hint: a failure gives way to a result
def my_cells(raw):
    out = {}
    for text in raw.split(b"\n"):
        try: line = json.loads(text)
        except ValueError: continue
        out.setdefault(line["key"], line)
    return out
# %% source-saves: weight only
# hint: this is the weight that the source deserves
def my_saving(own, open_): return own / (own + open_)
# %% source-saves: what is left
# hint: this is the share of the error that is left
def my_saving(own, open_): return (1 / (1 / own + 1 / open_)) / (1 / (1 / own + 1))
# %% source-saves: not a share
# hint: this is the error saved, not the share of it
def my_saving(own, open_): return 1 / (1 / own + 1) - 1 / (1 / own + 1 / open_)
# %% source-saves: the average person twice
# hint: the average person was asked twice
def my_saving(own, open_): return 1 - (1 / (1 / own + 1 / open_ + 1)) / (1 / (1 / own + 1))
