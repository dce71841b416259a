# SPDX-License-Identifier: Apache-2.0
"""Tests of cpython_source.py: where an archive comes from, and that a wrong one is refused."""

import hashlib
import http.server
import tempfile
import threading
import time
import unittest
from pathlib import Path
from unittest import mock

import cpython_source
from cpython import no_source, setup_error

ARCHIVE = b"not really an archive"
SUM = hashlib.sha256(ARCHIVE).hexdigest()


class SourceTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        for name, value in (("accepted", lambda: {"3.14.9": SUM, "3.14.8": "0" * 64,
                                                  "3.15.0rc2": "1" * 64}),
                            ("debian_mirrors", lambda: ["http://mirror.invalid/debian"]),
                            ("say", lambda text: None)):
            patch = mock.patch.object(cpython_source, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    def sources(self, python_org, mirror):
        """Patches the two places; each writes bytes to the target or returns why it cannot."""
        def put(answer, target):
            if isinstance(answer, bytes):
                target.write_bytes(answer)
                return None
            return answer

        def download(url, target):
            reason = put(python_org, target)
            if reason:
                raise OSError(reason)

        def from_mirror(_mirror, version, target):
            return put(mirror.get(version, "not there"), target)

        for name, value in (("download", download), ("from_mirror", from_mirror)):
            patch = mock.patch.object(cpython_source, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    def test_the_release_comes_first(self):
        self.sources(ARCHIVE, {})
        path, version = cpython_source.fetch("3.14", self.folder)
        self.assertEqual((path.read_bytes(), version), (ARCHIVE, "3.14.9"))

    def test_the_mirror_is_asked_when_the_release_cannot_be_had(self):
        self.sources("no route", {"3.14.9": ARCHIVE})
        self.assertEqual(cpython_source.fetch("3.14", self.folder)[1], "3.14.9")

    def test_a_wrong_sum_is_refused_and_nothing_of_it_is_kept(self):
        self.sources(b"something else", {"3.14.9": b"else", "3.14.8": ARCHIVE})
        with self.assertRaises(setup_error) as caught:
            cpython_source.fetch("3.14", self.folder)
        self.assertEqual(str(caught.exception).count("SHA-256 sum is wrong"), 3)
        self.assertIn("COPPICE_PYTHON_SOURCE", str(caught.exception))
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_an_archive_fetched_before_is_used_again_if_it_is_whole(self):
        kept = self.folder / "Python-3.14.9.tar.xz"
        kept.write_bytes(ARCHIVE)
        self.sources("no route", {})
        self.assertEqual(cpython_source.fetch("3.14", self.folder)[0], kept)
        kept.write_bytes(ARCHIVE[:5])
        with self.assertRaises(setup_error):
            cpython_source.fetch("3.14", self.folder)

    def test_a_given_archive_is_known_by_its_sum(self):
        given = self.folder / "x.tar.xz"
        given.write_bytes(ARCHIVE)
        self.assertEqual(cpython_source.given_archive(given, "3.14"), (given, "3.14.9"))

    def test_of_a_given_folder_the_newest_archive_of_the_wanted_version_is_taken(self):
        (self.folder / "a.tar.xz").write_bytes(b"something else")
        given = self.folder / "b.tar.xz"
        given.write_bytes(ARCHIVE)
        self.assertEqual(cpython_source.given_archive(self.folder, "3.14"), (given, "3.14.9"))
        with self.assertRaises(no_source) as caught:
            cpython_source.given_archive(self.folder, "3.15")
        self.assertIn("Python-3.15.0rc2.tar.xz", str(caught.exception))

    def test_a_given_archive_that_cannot_serve_is_refused_in_one_sentence(self):
        given = self.folder / "x.tar.xz"
        for content, minor, says in ((None, "3.14", "is no file"), (b"bad", "3.14", "refused"),
                                     (ARCHIVE, "3.15", "3.14.9 and 3.15 is wanted")):
            if content is not None:
                given.write_bytes(content)
            with self.assertRaises(setup_error) as caught:
                cpython_source.given_archive(given, minor)
            self.assertIn(says, str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))

    def test_addresses_of_release_candidates(self):
        self.assertTrue(cpython_source.release_url("3.15.0rc2").endswith(
            "/3.15.0/Python-3.15.0rc2.tar.xz"))
        seen = []

        def run(command, **_options):
            seen.append(command)
            raise FileNotFoundError

        with mock.patch.object(cpython_source.subprocess, "run", run):
            reason = cpython_source.from_mirror("http://m/debian", "3.15.0rc2", self.folder / "t")
        self.assertEqual(reason, "there is no apt here")
        self.assertIn("http://m/debian/pool/main/p/python3.15/python3.15_3.15.0~rc2.orig.tar.xz",
                      seen[0])


class MirrorTest(unittest.TestCase):
    def mirrors(self, files: dict[str, str]) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            etc = Path(folder)
            (etc / "sources.list.d").mkdir()
            for name, text in files.items():
                (etc / name).write_text(text)
            return cpython_source.debian_mirrors(etc)

    def test_one_line_sources_are_read_without_security_archives(self):
        self.assertEqual(self.mirrors({
            "sources.list": "# deb http://old/debian x main\n"
                            "deb [arch=amd64 signed-by=/k] http://a/debian bookworm main contrib\n"
                            "deb http://a/debian bookworm-updates main\n"
                            "deb http://a/debian-security bookworm-security main\n"}),
            ["http://a/debian"])

    def test_deb822_sources_are_read_stanza_by_stanza(self):
        self.assertEqual(self.mirrors({
            "sources.list.d/debian.sources":
                "Types: deb\n# http://not-this/debian\nURIs: https://b/debian/\n"
                "Suites: bookworm\nComponents: main\n\n"
                "Types: deb\nURIs: http://c/tools\nSuites: y\nComponents: extra\n",
            "sources.list.d/off.sources.disabled": "URIs: http://d/debian\nComponents: main\n"}),
            ["https://b/debian"])


class DownloadTest(unittest.TestCase):
    """A real server on a port of the system's choosing."""

    def serve(self, answer) -> str:
        class handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802 (http.server's name)
                answer(self)

            def log_message(self, *_arguments):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join, 10)
        self.addCleanup(server.shutdown)
        return f"http://127.0.0.1:{server.server_port}/"

    def test_bytes_arrive_whole(self):
        def answer(request):
            request.send_response(200)
            request.send_header("Content-Length", str(len(ARCHIVE)))
            request.end_headers()
            request.wfile.write(ARCHIVE)

        with tempfile.TemporaryDirectory() as folder:
            cpython_source.download(self.serve(answer), Path(folder, "x"))
            self.assertEqual(Path(folder, "x").read_bytes(), ARCHIVE)

    def test_a_server_that_does_not_answer_costs_no_more_than_the_bound(self):
        release = threading.Event()
        url = self.serve(lambda request: release.wait(30))
        self.addCleanup(release.set)  # Last in, first out: the server can end after it.
        begun = time.monotonic()
        with mock.patch.object(cpython_source, "CONNECT_SECONDS", 1), \
                tempfile.TemporaryDirectory() as folder:
            with self.assertRaises((cpython_source.too_slow, OSError)):
                cpython_source.download(url, Path(folder, "x"))
        self.assertLess(time.monotonic() - begun, 10)


if __name__ == "__main__":
    unittest.main()
