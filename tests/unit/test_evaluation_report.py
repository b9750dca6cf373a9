"""The report: what is written is read again, what does not compare is refused, a page is whole."""

import base64
import dataclasses
import io
import json
import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from PIL import Image

from mezzotint.errors import ConfigError
from mezzotint.evaluation import axes, page_parts, wording
from mezzotint.evaluation.memorisation import Memorisation, Pair
from mezzotint.evaluation.page import page, reaches, verdict
from mezzotint.evaluation.pictures import PairPicture, Pictures
from mezzotint.evaluation.plots import (
    Level,
    Linear,
    Logarithmic,
    Series,
    Values,
    bar,
    histogram,
    lines,
)
from mezzotint.evaluation.report import (
    ClassScore,
    Protocol,
    Report,
    Score,
    compare,
    markdown,
)

NASTY = '<b>&"it\'s" | face</b>'
VOID = {"meta", "img", "br", "link", "input", "hr"}
SVG = "{http://www.w3.org/2000/svg}"

PROTOCOL = Protocol(
    implementation="mezzotint 0.2.0",
    extractor="emoji-judge",
    extractor_digest="abcdef0123456789",
    judge="emoji-judge",
    judge_digest="abcdef0123456789",
    reference="emoji",
    reference_digest="1111222233334444",
    reference_count=5625,
    size=32,
    samples="emoji-dit",
    samples_count=1000,
    steps=50,
)
DISTANCE = Score(
    "FD-emoji", 4.2134, floor=2.8, floor_count=1000, low=4.05, high=4.391, lower_is_better=True
)
MEMORISATION = Memorisation(
    share=0.048,
    level=0.05,
    noise=0.008,
    threshold=0.41,
    ratio=1.03,
    copies=0,
    pairs=(Pair(17, 204, 0.1),),
    leave_one_out=False,
)


def report(**changes):
    whole = Report(
        title=NASTY,
        protocol=PROTOCOL,
        scores=(DISTANCE, Score("precision", 0.8265, lower_is_better=False)),
        classes=(
            ClassScore("face", 600, accuracy=0.9, distance=5.0, floor=4.0),
            ClassScore(NASTY, 400, accuracy=0.5),
        ),
        confusion=((540, 60), (200, 200)),
        confusion_names=("face", NASTY),
        memorisation=MEMORISATION,
        command=f"mezzotint evaluate {NASTY}",
        notes=(NASTY,),
        warnings=(NASTY,),
    )
    return dataclasses.replace(whole, **changes)


def protocol(**changes):
    return dataclasses.replace(PROTOCOL, **changes)


def pictures():
    small, other = Image.new("RGB", (32, 32), "red"), Image.new("RGB", (32, 32), "blue")
    return Pictures(
        grid=Image.new("RGB", (600, 300)),
        grid_names=("face", NASTY),
        neighbours=(PairPicture(Pair(17, 204, 0.1), small, other),),
        best=(small,),
        worst=(other,),
        distances=(Values("samples", (0.1, 0.5, 0.6)), Values(NASTY, (0.4, 0.7))),
        charts=(lines([Series(NASTY, (1, 2), (3, 4))], "steps", "FD", NASTY),),
    )


class Balance(HTMLParser):
    """Note every tag, and every one that closes another than the last opened."""

    def __init__(self, text):
        super().__init__()
        self.open, self.offences, self.tags, self.text = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.offences.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, text):
        self.text.append(text)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


# Data ---------------------------------------------------------------------------------------------


def test_a_report_survives_its_file(tmp_path):
    whole = report()
    whole.write(tmp_path / "deep" / "folder", pictures())
    assert Report.read(tmp_path / "deep" / "folder" / "report.json") == whole
    assert NASTY not in (tmp_path / "deep" / "folder" / "report.html").read_text("utf-8")
    assert sorted(p.name for p in (tmp_path / "deep" / "folder").iterdir()) == [
        "report.html",
        "report.json",
    ]
    bare = Report(title="a", protocol=Protocol(), scores=())
    bare.write(tmp_path, Pictures())
    assert Report.read(tmp_path / "report.json") == bare


def test_what_is_not_finite_is_null_and_said(tmp_path):
    broken = report(
        scores=(Score("KID", math.nan, low=-math.inf, high=1.0),),
        memorisation=dataclasses.replace(MEMORISATION, ratio=math.inf),
    )
    broken.write(tmp_path, Pictures())
    text = (tmp_path / "report.json").read_text("utf-8")
    tree = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert tree["scores"][0]["value"] is tree["memorisation"]["ratio"] is None
    assert tree["notes"] == [
        NASTY,
        "scores.KID.value is stored as null, for it was nan",
        "scores.KID.low is stored as null, for it was -inf",
        "memorisation.ratio is stored as null, for it was inf",
    ]
    again = Report.read(tmp_path / "report.json")
    assert math.isnan(again.scores[0].value)
    assert math.isnan(again.memorisation.ratio)
    assert again.scores[0].low is None
    assert "KID could not be computed" in verdict(again)
    # A second writing says nothing twice.
    assert again.to_json() == tree


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda tree: tree.update(format=2), "format: expected 1, got 2"),
        (lambda tree: tree.pop("format"), "format: expected 1, got None"),
        (lambda tree: tree.update(colour="red"), "colour: unknown key"),
        (lambda tree: tree["scores"][0].pop("name"), "scores.0.name: missing"),
        (lambda tree: tree["scores"][0].update(floor_count=None), "a floor without its n"),
        (lambda tree: tree["protocol"].update(stepps=3), "stepps: unknown key"),
        (lambda tree: tree["memorisation"].update(share="many"), "share: expected float"),
    ],
)
def test_a_damaged_report_is_one_line(tmp_path, change, line):
    tree = report().to_json()
    change(tree)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(tree))
    with pytest.raises(ConfigError, match=re.escape(line)) as caught:
        Report.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_what_is_no_report_is_one_line(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ConfigError, match=r"report\.json: (not a readable|expected a) report"):
        Report.read(tmp_path / "report.json")
    with pytest.raises(ConfigError, match="not a readable report"):
        Report.read(tmp_path / "none.json")


def test_nothing_is_written_that_could_not_be_read(tmp_path):
    class Tensor:
        def __str__(self):
            return "tensor(1.)"

    with pytest.raises(ConfigError, match=r"value: expected float, got 'tensor\(1\.\)'"):
        report(scores=(Score("KID", Tensor()),)).write(tmp_path, Pictures())
    assert not list(tmp_path.iterdir())


def test_impossible_reports_are_refused():
    with pytest.raises(ConfigError, match=r"from 2\.0 down to 1\.0"):
        Score("KID", 1.0, low=2.0, high=1.0)
    with pytest.raises(ConfigError, match="give floor_count"):
        Score("KID", 1.0, floor=0.5)
    with pytest.raises(ConfigError, match="FD-emoji stands twice"):
        report(scores=(DISTANCE, DISTANCE))
    for counts in [((1, 2),), ((1, 2), (3,)), ()]:
        with pytest.raises(ConfigError, match="2 names need 2 rows of 2 counts"):
            report(confusion=counts)


# Protocol and comparison --------------------------------------------------------------------------


def test_a_protocol_is_one_line_and_says_what_is_unknown():
    line = str(protocol(samples="a\n b | c"))
    assert line.startswith("implementation mezzotint 0.2.0 | extractor emoji-judge | ")
    assert "| extractor_digest abcdef01 |" in line
    assert "| samples a b / c |" in line
    assert "| sampler unknown | steps 50 |" in line
    assert len(line.split(" | ")) == len(dataclasses.fields(Protocol))


def test_differences_are_named():
    assert PROTOCOL.differences(PROTOCOL) == []
    other = protocol(steps=None, extractor_digest="abcdef01ffffffff", reference_digest="99" * 8)
    assert PROTOCOL.differences(other) == [
        "extractor_digest: abcdef0123456789 and abcdef01ffffffff",
        "reference_digest: 11112222 and 99999999",
        "steps: 50 and unknown",
    ]


def test_a_table_sets_reports_side_by_side():
    ten = report(
        title="ten steps",
        protocol=protocol(steps=10, samples_digest="f00d"),
        scores=(dataclasses.replace(DISTANCE, value=6.0, floor=2.9, floor_count=368),),
    )
    rows = compare([report(), ten])
    assert rows[0] == {
        "report": NASTY,
        "steps": "50",
        "FD-emoji": "4.213 (4.05 to 4.39)",
        "precision": "0.8265",
    }
    assert rows[1] == {
        "report": "ten steps",
        "steps": "10",
        "FD-emoji": "6.000 (4.05 to 4.39)",
        "precision": "–",
    }
    assert rows[2]["FD-emoji"] == "2.800 to 2.900 (n = 368, 1,000)"
    assert markdown([report(), ten], ["steps", "FD-emoji"]).splitlines() == [
        "| steps | FD-emoji |",
        "| --- | --- |",
        "| 50 | 4.213 (4.05 to 4.39) |",
        "| 10 | 6.000 (4.05 to 4.39) |",
        "| – | 2.800 to 2.900 (n = 368, 1,000) |",
    ]
    assert NASTY.replace("|", r"\|") in markdown([report()])
    assert compare([report()])[-1]["FD-emoji"] == "2.800"
    assert len(compare([report(scores=())])) == 1
    with pytest.raises(ConfigError, match="did you mean steps"):
        markdown([report(), ten], ["stepps"])
    with pytest.raises(ConfigError, match="nothing to compare"):
        compare([])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"extractor_digest": "ffff"}, "extractor_digest: abcdef01 and ffff"),
        ({"extractor_digest": None}, "extractor_digest: abcdef01 and emoji-ju"),
        ({"judge_digest": "ffff"}, "judge_digest: abcdef01 and ffff"),
        ({"reference_digest": "ffff"}, "reference_digest: 11112222 and ffff"),
        ({"reference_count": 5}, "reference_count: 5625 and 5"),
        ({"reference_codec": "jpeg"}, "reference_codec: unknown and jpeg"),
        ({"size": 64}, "size: 32 and 64"),
        ({"samples_count": 5000}, "samples_count: 1000 and 5000"),
    ],
)
def test_what_does_not_compare_is_refused_in_one_line(change, line):
    other = report(title="other", protocol=protocol(**change))
    with pytest.raises(ConfigError, match=f"'other' does not compare .*{line}; evaluate both"):
        compare([report(), report(), other])
    with pytest.raises(ConfigError, match="does not compare"):
        markdown([other, report()])


def test_what_may_differ_is_not_refused():
    free = {"sampler": "ddim", "reference": "a copy", "judge": None, "judge_digest": None}
    assert len(compare([report(), report(protocol=protocol(**free))])) == 3


# Words --------------------------------------------------------------------------------------------


def test_numbers_are_short():
    found = [3.94331, 215.84, 1234.6, 12345.6, 0.8, 0.00042, -0.0000121, 0.0, math.nan, None, 1e-12]
    assert [wording.number(each) for each in found] == [
        "3.943",
        "215.8",
        "1,235",
        "12,346",
        "0.8000",
        "0.0004200",
        "−1.21 × 10⁻⁵",
        "0",
        "–",
        "–",
        "1 × 10⁻¹²",
    ]
    shares = [0.0, 1.0, 0.813, 0.85, 1e-5, 0.99999, None]
    assert [wording.percent(each).replace("\u202f", " ") for each in shares] == [
        "0 %",
        "100 %",
        "81.3 %",
        "85 %",
        "< 0.1 %",
        "> 99.9 %",
        "–",
    ]
    assert wording.interval(1.0, 2.5) == "1.00 to 2.50"
    assert wording.interval(1.0, None) == "–"
    assert wording.count(5000) == "5,000"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "FD-emoji is 4.213, 1.5 times the 2.800 of real data against itself."),
        ({"low": 2.7}, "FD-emoji is 4.213, as good as real data against itself (2.800)."),
        ({"floor_count": 368}, "its floor, 2.800, is that of another n, 368."),
        ({"floor": None}, "FD-emoji is 4.213; no floor was measured."),
        ({"floor": -0.1}, "FD-emoji is 4.213; real data against itself gives −0.1000."),
        ({"lower_is_better": False, "floor": 4.3}, "FD-emoji is 4.213, as good as"),
        ({"lower_is_better": False, "floor": 5.0}, "; real data against itself gives 5.000."),
        ({"lower_is_better": None}, "; real data against itself gives 2.800."),
    ],
)
def test_the_verdict_weighs_the_first_score(change, words):
    assert words in verdict(report(scores=(dataclasses.replace(DISTANCE, **change),)))


def test_the_verdict_weighs_classes_and_neighbours():
    text = verdict(report()).replace("\u202f", " ")
    # 0.9 of 600 and 0.5 of 400
    assert "74 % of the samples are recognised as the class asked for." in text
    assert "No sign of repeated training images: 4.8 %" in text
    near = dataclasses.replace(MEMORISATION, share=0.05 + 3.1 * 0.008)
    assert "Some samples may repeat" in verdict(report(memorisation=near))
    copies = dataclasses.replace(MEMORISATION, copies=3)
    assert "Copies of training images among the samples: 3." in verdict(report(memorisation=copies))
    assert "\n" not in text
    assert not reaches(Score("IS", 9.0))


# The page -----------------------------------------------------------------------------------------


def test_the_page_is_whole_escaped_and_needs_nothing_else():
    text = page(report(), pictures())
    found = Balance(text)
    assert not found.offences
    assert not found.open
    assert NASTY not in text
    assert "<b>" not in text
    # Title, class, rows and columns of the confusion, command, note, warning, and captions.
    assert "".join(found.text).count(NASTY) >= 8
    assert not re.search(r'(src|href)="(?!data:image/png;base64,|#)', text)
    assert "url(" not in text
    assert "@import" not in text
    assert "<script" not in text
    anchors = {a["href"][1:] for a in found.all("a")}
    assert anchors <= {s.get("id") for s in found.all("section")}


def test_the_page_holds_its_parts_in_order():
    text = page(report(), pictures())
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings == [
        "Scores",
        "Protocol",
        "Samples",
        "Classes",
        "Confusion",
        "Nearest training images",
        "Curves",
        "Notes and warnings",
        "Make it again",
    ]
    assert text.index('class="verdict"') < text.index("<h2>")
    bare = page(Report(title="a", protocol=Protocol(), scores=(DISTANCE,)), Pictures())
    assert re.findall(r"<h2>(.*?)</h2>", bare) == ["Scores", "Protocol", "Make it again"]
    assert "The command is not recorded." in bare
    assert not Balance(bare).offences


def test_the_page_is_accessible():
    found = Balance(page(report(), pictures()))
    assert all(image["alt"] for image in found.all("img"))
    assert len(found.all("img")) == 5
    assert all(cell["scope"] in {"row", "col"} for cell in found.all("th"))
    assert len(found.all("caption")) == len(found.all("table")) == 3
    svgs = found.all("svg")
    assert len(svgs) == 2 + 2 * 2 + 2  # scores, classes, histogram and chart
    assert all(svg["role"] == "img" for svg in svgs)
    assert len(found.all("title")) == len(svgs) + 1
    assert found.all("html")[0]["lang"] == "en"


def test_pictures_are_inside_unharmed_and_small_ones_are_enlarged():
    found = Balance(page(report(), pictures())).all("img")
    grid, best = found[0], found[1]
    assert "class" not in grid
    assert (best["class"], best["width"]) == ("pixels", "96")
    data = base64.b64decode(best["src"].removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (32, 32)
        assert image.getpixel((5, 5)) == (255, 0, 0)


def test_the_floor_says_its_n_where_it_is_not_the_samples():
    assert "n = " not in page_parts.scores([DISTANCE], 1000)
    assert "<small>n = 1,000</small>" in page_parts.scores([DISTANCE], 5000)
    assert "n = " not in page_parts.scores([Score("IS", 9.0)], 5000)


def test_classes_come_least_recognised_first():
    text = page_parts.classes(
        [
            ClassScore("good", 5, accuracy=0.9),
            ClassScore("unknown", 5),
            ClassScore("none", 5, accuracy=0.0),
        ]
    )
    order = re.findall(r'<th scope="row">(.*?)</th>', text)
    assert order == ["none", "good", "unknown"]


def test_a_confusion_shows_shares_of_its_rows_or_the_worst_of_many():
    text = page_parts.confusion(((3, 1), (0, 0)), ("a", "b"))
    cells = re.findall(r'style="--heat:([\d.]+)">(\d*)</td>', text)
    assert cells == [("0.75", "75"), ("0.25", "25"), ("0.00", ""), ("0.00", "")]
    size = page_parts.MATRIX_CLASSES + 1
    counts = [[10 if i == j else 0 for j in range(size)] for i in range(size)]
    counts[3][7], counts[5][1] = 10, 30
    many = page_parts.confusion(counts, [f"c{i}" for i in range(size)])
    assert "--heat" not in many
    assert re.findall(r'<th scope="row">(c\d+)</th><td>(c\d+)</td>', many) == [
        ("c5", "c1"),
        ("c3", "c7"),
    ]


def test_a_reading_says_what_stands_in_for_held_out_images():
    assert "of held-out images" in page_parts.memorised(MEMORISATION, Pictures())
    alone = dataclasses.replace(MEMORISATION, leave_one_out=True)
    assert "of training images to one another" in page_parts.memorised(alone, Pictures())


# Plots --------------------------------------------------------------------------------------------


def chart(**options):
    series = [
        Series("big", (5, 10, 50), (9.0, 6.0, 4.0), (8.5, 5.5, 3.5), (9.5, 6.5, 4.5)),
        Series(NASTY, (5, 10, 50), (14.0, math.nan, 9.0)),
    ]
    return lines(series, "steps & more", "FD", "FD <against> steps", **options)


@pytest.mark.parametrize(
    "text",
    [
        chart(),
        chart(x_scale=Logarithmic(), y_scale=Logarithmic(), levels=[Level("floor", 2.8)]),
        lines([Series("one", (3.0,), (5.0,))], "x", "y", "a single point"),
        lines([Series("flat", (1, 2), (0.0, 0.0))], "x", "y", "all zero"),
        histogram([Values(NASTY, (1.0, 1.0)), Values("none", ())], "d", "share", "one value"),
        histogram([Values("a", (-3.0, 4.0, math.inf)), Values("b", (9.0,))], "d", "share", "wide"),
    ],
)
def test_a_plot_is_valid_svg_within_its_box(text):
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert [root[0].tag, root[1].tag] == [f"{SVG}title", f"{SVG}desc"]
    assert root[1].text
    assert "nan" not in text
    assert "inf" not in text
    _, _, width, height = map(float, root.get("viewBox").split())
    for label in root.iter(f"{SVG}text"):
        assert 0 <= float(label.get("x")) <= width
        assert 0 <= float(label.get("y")) <= height


def test_a_chart_places_its_points_and_says_them():
    text = chart(x_scale=Logarithmic(), levels=[Level("floor", 2.8)])
    assert text == chart(x_scale=Logarithmic(), levels=[Level("floor", 2.8)])
    assert "big: 9.000 at 5.00, 6.000 at 10.0, 4.000 at 50.0." in text
    root = ElementTree.fromstring(text)
    paths = [p.get("d") for p in root.iter(f"{SVG}path")]
    first = next(d for d in paths if d.count("L") == 2)
    xs, ys = zip(*(map(float, p.split()) for p in first[1:].split("L")), strict=True)
    # Equal ratios are equally long: 5 to 10 is log 2 of log 10.
    assert (xs[1] - xs[0]) / (xs[2] - xs[0]) == pytest.approx(math.log(2) / math.log(10), abs=1e-3)
    # y runs from 0, and downwards on the page.
    assert (ys[1] - ys[0]) / (ys[2] - ys[0]) == pytest.approx(3 / 5, abs=1e-3)
    assert ys[2] > ys[1] > ys[0]
    # The series with a gap has two points, and so two marks.
    fills = [p.get("fill") for p in root.iter(f"{SVG}path")]
    assert fills.count(axes.COLOURS[1]) == 3  # and one in the legend
    assert fills.count(axes.COLOURS[0]) == 4


def test_a_histogram_shows_shares_of_each_set():
    text = histogram([Values("a", (0.0, 0.0, 1.0, 4.0))], "d", "share", "t", bins=4)
    root = ElementTree.fromstring(text)
    drawn = [p.get("d") for p in root.iter(f"{SVG}path") if p.get("fill-opacity") == "0.15"]
    steps = [float(v) for v in re.findall(r"V([\d.]+)H", drawn[1])]  # the first is the legend's
    heights = [axes.BOTTOM - v for v in steps]
    assert [h / heights[3] for h in heights] == pytest.approx([3, 0, 0, 1], abs=0.01)
    assert "a: 4 values, median 0.5000." in text


def test_a_bar_is_as_long_as_its_value():
    text = bar(3.0, maximum=4.0, label=NASTY, floor=1.0, low=2.0, high=3.5)
    root = ElementTree.fromstring(text)
    assert root.find(f"{SVG}title").text == NASTY
    assert float(root.find(f"{SVG}rect").get("width")) == pytest.approx(0.75 * 120)
    assert 'd="M60.0 7.0H105.0"' in text
    assert 'd="M30.0 0V14"' in text
    empty = bar(None, maximum=1.0, label="nothing", floor=math.nan)
    assert "<rect" not in empty
    assert "nan" not in empty
    assert 'width="0.0"' in bar(-1.0, maximum=1.0, label="below")


def test_ticks_are_round_and_within():
    assert Linear().ticks(0.0, 14.7) == [0.0, 5.0, 10.0]
    assert Linear().ticks(0.11, 0.47) == [0.2, 0.3, 0.4]
    assert Linear().ticks(-0.05, 1.05) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert Logarithmic().ticks(4.0, 60.0) == [5.0, 10.0, 20.0, 50.0]
    assert Logarithmic().ticks(1.0, 1e9) == [10.0**e for e in range(10)]
    assert Linear().ends([3.0, 9.0])[0] == 0
    assert Linear().ends([8.0, 9.0])[0] > 7


def test_plots_refuse_in_one_line():
    with pytest.raises(ConfigError, match="3 x, 2 y"):
        Series("a", (1, 2, 3), (1, 2))
    with pytest.raises(ConfigError, match="1 low and 0 high"):
        Series("a", (1,), (1,), low=(1,))
    with pytest.raises(ConfigError, match="axis 'steps': no finite number"):
        lines([Series("a", (1,), (math.nan,))], "steps", "FD", "t")
    with pytest.raises(ConfigError, match="no place on a logarithmic axis"):
        lines([Series("a", (0, 1), (1, 2))], "steps", "FD", "t", x_scale=Logarithmic())


def test_a_long_legend_goes_on_below():
    many = [Series(f"model with a name, {i}", (1, 2), (i, i)) for i in range(6)]
    short = ElementTree.fromstring(lines(many[:1], "x", "y", "t"))
    long = ElementTree.fromstring(lines(many, "x", "y", "t"))
    assert int(short.get("height")) == axes.BOTTOM + axes.BOTTOM_MARGIN
    assert int(long.get("height")) == axes.BOTTOM + axes.BOTTOM_MARGIN + 2 * axes.LEGEND_LINE
    plot = long.findall(f"{SVG}g")[-1]
    assert plot.get("transform") == f"translate(0 {2 * axes.LEGEND_LINE})"
    names = [label for label in long.findall(f"{SVG}text") if "model" in label.text]
    heights = [float(label.get("y")) for label in names]
    assert heights == sorted(heights)
    assert len(set(heights)) == 3
    assert heights[-1] < axes.TOP + 2 * axes.LEGEND_LINE


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("paper", ["#ffffff", "#15171a"])
def test_every_colour_stands_out_on_light_and_dark(paper):
    for colour in axes.COLOURS:
        low, high = sorted([luminance(colour), luminance(paper)])
        assert (high + 0.05) / (low + 0.05) >= 3, colour
