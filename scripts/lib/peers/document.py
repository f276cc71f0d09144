"""What a report of `synod bench --json` comes to in docs/benchmarks.md: Markdown, printed, or put between two marks of a document.

document.py SCENE REPORT [--write DOCUMENT]

The marks are the lines `<!-- SCENE: begin -->` and `<!-- SCENE: end -->`; what is between them is replaced.
"""
import json
import re
import sys
import textwrap

WIDTH = 140


def short(figure):
    """Three or four digits that count."""
    if abs(figure) >= 100:
        return f"{figure:,.0f}"
    return f"{figure:.1f}" if abs(figure) >= 10 else f"{figure:.2f}"


def duration(us):
    return f"{short(us / 1000)} ms" if us >= 1000 else f"{short(us)} µs"


def table(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def made_on(report):
    """When, on what, beside what else."""
    machine = report["machine"]
    rounds = max(row["rounds"] for row in report["rows"])
    if report["quick"]:
        yield "**`--quick`: these figures only show that it works.**"
        yield ""
    profile = "release" if machine["optimised"] else "**dev profile, not optimised**"
    yield from textwrap.wrap(
        f"{machine['began_at'][:10]}, synod {machine['synod']} ({profile}), librdkafka {machine['librdkafka']}; {machine['services']}. "
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_mib']:,} MiB, Linux {machine['kernel']}. Load average "
        f"{machine['load_average']} before, {report['load_average_after']} after. Rounds: {rounds}.", WIDTH, break_on_hyphens=False)


class Requests:
    """The scene `requests`: arms by what is in flight, as cli/src/bench/requests names them."""

    def __init__(self, report):
        self.report = report
        self.rows = {}
        for row in report["rows"]:
            if row["scene"] == "requests":
                in_flight, arm, what = re.fullmatch(r"(\d+) in flight, ([^:]+)(?:: (.+))?", row["arm"]).groups()
                self.rows.setdefault((int(in_flight), arm), {})[what or "rate"] = row
        self.in_flight = sorted({in_flight for in_flight, _ in self.rows})
        self.arms = list(dict.fromkeys(arm for _, arm in self.rows))
        self.verdicts = {verdict["what"]: verdict for verdict in report["verdicts"]}

    def parts(self, in_flight, arm):
        return {what: row for what, row in self.rows[in_flight, arm].items() if row["unit"] == "CPU us"}

    def arm(self, in_flight, arm):
        rows = self.rows[in_flight, arm]
        rate = rows["rate"]
        all_parts = sum(row["median"] for row in self.parts(in_flight, arm).values())
        return [str(in_flight), arm, short(rate["median"]), f"{short(rate['min'])} to {short(rate['max'])}",
                duration(rows["p50"]["median"]), duration(rows["p99"]["median"]), duration(all_parts)]

    def ratio(self, of, arm, in_flight):
        verdict = self.verdicts[f"requests, {in_flight} in flight: {of} of {arm}"]
        figure = short(verdict["figure"])
        return f"{'**' + figure + '**' if verdict['met'] is False else figure} ({short(verdict['min'])} to {short(verdict['max'])})"

    def document(self):
        others = self.arms[1:]
        yield from made_on(self.report)
        yield ""
        yield from table(["in flight", "", "requests/s", "rounds", "p50", "p99", "processor time of a request, of all processes"],
                         [self.arm(in_flight, arm) for in_flight in self.in_flight for arm in self.arms])
        if others:
            yield ""
            yield "Synod's over theirs (median, lowest and highest of the rounds); what is bold is on the wrong side of 1:"
            yield ""
            heads = {"requests/s over those": "requests/s", "p50 over that": "p50", "p99 over that": "p99"}
            yield from table(["Synod over", ""] + [f"{in_flight} in flight" for in_flight in self.in_flight],
                             [[arm, head] + [self.ratio(of, arm, in_flight) for in_flight in self.in_flight]
                              for arm in others for of, head in heads.items()])
        yield ""
        yield "Processor time of a request by process, in µs, with " + ", ".join(map(str, self.in_flight)) + " in flight:"
        yield ""
        yield from table(["", "where"], [
            [arm, "; ".join(
                f"{part} " + " / ".join(short(self.rows[in_flight, arm][part]["median"]) for in_flight in self.in_flight)
                for part in self.parts(self.in_flight[0], arm))]
            for arm in self.arms])


class Workflows:
    """The scene `workflows`: its figures beside what they should be."""

    def __init__(self, report):
        self.report = report

    def document(self):
        yield from made_on(self.report)
        yield ""
        signs = {"at_least": "≥", "at_most": "≤", None: ""}
        yield from table(["what", "figure", "rounds", "goal", "met"], [
            [verdict["what"], short(verdict["figure"]), f"{short(verdict['min'])} to {short(verdict['max'])}",
             f"{signs[verdict['side']]} {verdict['limit']:g}" if verdict["side"] else "",
             {True: "yes", False: "**no**", None: ""}[verdict["met"]]]
            for verdict in self.report["verdicts"]])


def replaced(text, scene, section):
    begin, end = f"<!-- {scene}: begin -->\n", f"<!-- {scene}: end -->\n"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise SystemExit(f"document.py: it has to have the lines '{begin.strip()}' and '{end.strip()}', each once, in this order")
    before, rest = text.split(begin)
    return before + begin + section + end + rest.split(end)[1]


def main():
    scenes = {"requests": Requests, "workflows": Workflows}
    words = sys.argv[1:]
    if len(words) not in (2, 4) or words[0] not in scenes or words[2:3] not in ([], ["--write"]):
        raise SystemExit(__doc__)
    with open(words[1], encoding="utf-8") as file:
        report = json.load(file)
    section = "\n".join(scenes[words[0]](report).document()) + "\n"
    if len(words) == 2:
        print(section, end="")
        return
    with open(words[3], encoding="utf-8") as file:
        text = replaced(file.read(), words[0], section)
    with open(words[3], "w", encoding="utf-8") as file:
        file.write(text)


main()
