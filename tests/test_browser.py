"""GraphiQL in Chromium, with nothing but this machine: it loads, runs the examples, and keeps nothing."""

import asyncio
import json
import shlex
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.async_api import ConsoleMessage, Locator, Page, Request, async_playwright, expect

import schema.http.page
from schema.http.page import load_page
from tests.api import GraphQLApi
from tests.conftest import IN_CI
from tests.inboxes import inbox_values
from tests.running import ADMIN_HEADERS, Running, settings_for
from tests.sockets import listening

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

pytestmark = pytest.mark.skipif(
    not IN_CI and (CHROMIUM is None or not load_page().bundled),
    reason="Chromium is not installed, or GraphiQL is not built (npm run build in web/)",
)


@pytest.fixture
async def opened(tmp_path: Path, sqlite_template: Path) -> AsyncIterator[tuple[Running, Page, list[str]]]:
    """The page, and what went wrong on it: errors in the console and requests to anywhere else."""
    shutil.copytree(sqlite_template, tmp_path / "data")
    async with listening(settings_for(tmp_path / "data")) as (server, url), async_playwright() as playwright:
        origin = url.replace("ws://", "http://").removesuffix("/graphql")
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        wrong: list[str] = []

        def hear(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                wrong.append(message.text)

        def watch(request: Request) -> None:
            if not request.url.startswith((origin, "data:")):
                wrong.append(request.url)

        page.on("console", hear)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", watch)
        await page.goto(f"{origin}/graphql")
        await page.locator(".graphiql-execute-button").wait_for()
        yield server, page, wrong
        await browser.close()


async def test_the_examples_run_and_nothing_is_kept(opened: tuple[Running, Page, list[str]]) -> None:
    server, page, wrong = opened
    api = GraphQLApi(server.client)
    await type_headers(page)

    async def set_support() -> None:
        await run(page, "SetSupportInbox")

    async def change_support() -> None:
        assert (await api.set_inbox(inbox_values(id="support", name="Seen live"))).inbox_id

    # The editor passes on what was typed a moment later, and a subscription takes a moment to begin.
    await repeat_until_shown(page, set_support, "created")
    assert await api.inbox("support")
    await run(page, "SendTest")
    await expect(response(page)).to_contain_text("sendTestEmail")
    await run(page, "Inboxes")
    await expect(response(page)).to_contain_text("totalCount")
    await run(page, "Changes")
    await repeat_until_shown(page, change_support, "Seen live")
    assert wrong == []
    assert await page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


async def test_it_completes_from_the_schema(opened: tuple[Running, Page, list[str]]) -> None:
    _, page, wrong = opened
    await type_headers(page)
    editor = page.locator(".graphiql-query-editor .monaco-editor").first
    suggestions = page.locator(".suggest-widget.visible")
    await editor.click()

    async def type_anew() -> None:
        await page.keyboard.press("Escape")
        await page.keyboard.press("Control+A")
        await page.keyboard.type("{ emailInb")

    # The schema is asked for when the page opens, and without it nothing is known.
    async with asyncio.timeout(30):
        while True:
            await type_anew()
            with suppress(AssertionError):
                await expect(suggestions).to_contain_text("emailInboxes", timeout=2_000)
                break
    await expect(suggestions).to_contain_text("emailInbox")
    assert wrong == []


async def test_the_policy_of_the_page_lets_nothing_else_in(opened: tuple[Running, Page, list[str]]) -> None:
    server, page, wrong = opened
    answer = await server.as_caller(Accept="text/html").get("/graphql")
    policy = {part.split()[0]: part.split()[1:] for part in answer.headers["content-security-policy"].split(";")}
    assert policy["default-src"] in (["'none'"], ["'self'"])
    assert policy["frame-ancestors"] == ["'none'"]
    assert not {"'unsafe-inline'", "'unsafe-eval'", "*", "https:"} & set(policy.get("script-src", []))
    script = """() => new Promise(resolve => {
        const element = document.createElement("script")
        element.textContent = "globalThis.ran = true"
        document.addEventListener(
            "securitypolicyviolation", event => resolve([event.effectiveDirective, globalThis.ran])
        )
        document.body.append(element)
    })"""
    directive, ran = await page.evaluate(script)
    assert (directive.startswith("script-src"), ran) == (True, None)
    assert len(wrong) == 1  # Chromium says on the console that it kept the script from running


async def test_a_page_whose_parts_are_out_of_reach_says_what_to_do(
    tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema.http.page, "BUNDLE", tmp_path / "missing")
    shutil.copytree(sqlite_template, tmp_path / "data")
    async with listening(settings_for(tmp_path / "data")) as (_, url), async_playwright() as playwright:
        address = url.replace("ws://", "http://")
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await browser.new_page()
        await page.route("https://unpkg.com/**", lambda route: route.abort())
        await page.goto(f"{address}?q=1", wait_until="commit")
        await expect(page.get_by_role("heading")).to_have_text("GraphiQL could not be loaded")
        await expect(page.locator("body")).to_contain_text("Install npm, run make install, and restart the server.")
        assert "Loading" not in await page.inner_text("body")
        line = await page.inner_text("pre")
        await browser.close()
        assert await run_line(line, address) == {
            "data": {"viewer": {"id": ADMIN_HEADERS["X-User-Id"], "username": "admin"}}
        }


async def test_a_browser_without_scripts_is_told_so(
    tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts are off by Chromium's own setting: what Playwright does shows no <noscript>."""
    monkeypatch.setattr(schema.http.page, "BUNDLE", tmp_path / "missing")
    shutil.copytree(sqlite_template, tmp_path / "data")
    arguments = [*ARGUMENTS, "--blink-settings=scriptEnabled=false"]
    async with listening(settings_for(tmp_path / "data")) as (_, url), async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = await browser.new_page()
        await page.route("https://unpkg.com/**", lambda route: route.abort())
        await page.goto(url.replace("ws://", "http://"))
        shown = await page.inner_text("body")
        assert "GraphiQL needs JavaScript." in shown
        assert "curl ADDRESS" in shown
        await browser.close()


async def run_line(line: str, address: str) -> object:
    """What the shell gets for the line of the page, with the administrator's credentials in it."""
    assert line.startswith(f"curl {address} ")
    line = line.replace("USER_ID", ADMIN_HEADERS["X-User-Id"]).replace("TOKEN", ADMIN_HEADERS["X-Auth-Token"])
    command = shlex.split(line.replace("\\\n", ""))
    curl = await asyncio.create_subprocess_exec(*command, "--silent", stdout=asyncio.subprocess.PIPE)
    return json.loads((await curl.communicate())[0])


def response(page: Page) -> Locator:
    return page.locator(".graphiql-response .view-lines")


async def repeat_until_shown(page: Page, action: Callable[[], Awaitable[None]], text: str) -> None:
    async with asyncio.timeout(30):
        while True:
            await action()
            with suppress(AssertionError):
                await expect(response(page)).to_contain_text(text, timeout=1_000)
                return


async def run(page: Page, operation: str) -> None:
    await page.locator(".graphiql-execute-button").click()
    await page.get_by_role("menuitem", name=operation).click()


async def type_headers(page: Page) -> None:
    """Through the editor's model: keys that are typed would meet auto-closed brackets."""
    await expect(page.locator(".graphiql-editor-tool").get_by_text("X-Auth-Token").first).to_be_visible()
    script = """headers => globalThis.__MONACO.editor.getModels()
        .find(model => model.uri.path.endsWith("request-headers.json")).setValue(JSON.stringify(headers))"""
    await page.evaluate(script, ADMIN_HEADERS)
