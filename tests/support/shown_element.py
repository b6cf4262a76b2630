"""The element of a page, as people and their tools see it."""

#: What it says while there is no connection.
OFFLINE = "No connection; trying again."


class Element:
    """A `<job-progress>`, the only one of its page."""

    def __init__(self, page):
        self.page = page
        self.host = page.locator("job-progress")
        self.bar = page.get_by_role("progressbar")

    def part(self, name):
        return self.host.locator(f"[part={name}]")

    def button(self, name):
        return self.page.get_by_role("button", name=name, exact=True)

    def wait_for_state(self, state):
        self.page.locator(f"job-progress[state={state}]").wait_for()

    def wait_for_value(self, value):
        self.page.locator(
            f"job-progress [role=progressbar][aria-valuenow='{value}']"
        ).wait_for()

    @property
    def message(self):
        return self.part("message").inner_text()

    def wait_for_message(self, message):
        self.part("message").get_by_text(message, exact=True).wait_for()

    def wait_until_offline(self, message=OFFLINE):
        self.page.locator("job-progress[offline]").wait_for()
        assert self.message == message

    def wait_until_online(self):
        self.page.locator("job-progress:not([offline])").wait_for()

    @property
    def is_moving(self):
        """Tell whether the bar is animated as if there were news."""
        return self.part("fill").evaluate(
            "fill => fill.classList.contains('busy')"
        )

    @property
    def said(self):
        """Tell what a screen reader was told last."""
        return self.part("status").text_content()

    @property
    def attributes(self):
        return self.bar.evaluate(
            "bar => Object.fromEntries([...bar.attributes]"
            ".map(({name, value}) => [name, value]))"
        )


def listen(page):
    """Have the page keep what it is told."""
    page.evaluate(
        """() => {
          window.told = [];
          for (const type of ["job-progress", "job-outcome"]) {
            document.addEventListener(type, (event) => {
              const { detail, composed } = event;
              told.push({ type, composed, ...detail,
                error: detail.error?.message ?? null });
            });
          }
        }"""
    )
