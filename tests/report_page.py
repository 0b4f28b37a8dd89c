"""A parsed report, for the tests of the commands that write pages."""

from html.parser import HTMLParser

_FETCHING = {"src", "href", "xlink:href", "srcset", "data", "poster", "action", "background"}
_EMPTY = {"meta", "br", "path", "rect", "circle", "use", "image", "ellipse", "line", "polygon"}


class Page(HTMLParser):
    """Tags, addresses that they would fetch, headings, and the rows of the results table.

    Attributes:
        tags: the tag of every element.
        fetched: addresses that an element would load or lead to.
        ids: the id of every element that has one.
        headings: (level, text) in order.
        rows: the table's cells, each as the texts in it.
        classes: the class of each of these rows.
        pictures: the labels of the drawings, None for one without.
        words: all text outside style elements.
    """

    def __init__(self, source):
        super().__init__()
        self.tags, self.fetched, self.ids, self.headings = [], [], [], []
        self.rows, self.classes, self.pictures, self.words = [], [], [], []
        self.open, self.in_results = [], False
        self.feed(source)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.fetched += [value for key, value in attrs if key in _FETCHING]
        self.ids += [given["id"]] if "id" in given else []
        if tag not in _EMPTY:
            self.open.append(tag)
        if given.get("role") == "region":
            self.in_results = given["aria-label"] == "Results"
        if self.in_results and tag == "tr":
            self.rows.append([])
            self.classes.append(given.get("class"))
        if self.in_results and tag in ("td", "th"):
            self.rows[-1].append([])
        if tag == "svg" and given.get("aria-hidden") != "true":
            self.pictures.append(given.get("aria-label"))
        if tag[0] == "h" and tag[1:].isdigit():
            self.headings.append((int(tag[1]), ""))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in _EMPTY:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag in _EMPTY:
            return
        assert self.open.pop() == tag, f"</{tag}> closes something else"
        if tag == "table":
            self.in_results = False

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            return
        self.words.append(data)
        if self.in_results and {"td", "th"} & set(self.open):
            self.rows[-1][-1].append(data)
        if self.open and self.open[-1][0] == "h" and self.open[-1][1:].isdigit():
            level, text = self.headings[-1]
            self.headings[-1] = level, text + data

    @property
    def table(self):
        """The rows without the heading, each cell as its first text: the name or the mean."""
        return [[cell[0] if cell else "" for cell in row] for row in self.rows[1:]]


def assert_self_contained(page, source):
    """Check that the page loads nothing and runs nothing, and could not."""
    assert all(target.startswith(("#", "data:image/png;")) for target in page.fetched)
    assert {target[1:] for target in page.fetched if target.startswith("#")} <= set(page.ids)
    assert not {"script", "link", "iframe", "img", "object", "embed", "base", "form"} & set(
        page.tags
    )
    assert "default-src 'none'" in source
    assert "@import" not in source
    assert "javascript:" not in source
    assert all(part.startswith("#") for part in (p[:1] for p in source.split("url(")[1:]))
