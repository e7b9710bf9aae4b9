"""How log lines are written, and what is kept out of them."""

import json
import logging
import sys
import unittest

from config.logs import formatter


def record(message: str, **more) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": message, "name": "shop", "levelname": "ERROR"} | more)


class LogLineTests(unittest.TestCase):
    def test_as_json_has_time_level_logger_message_and_what_was_said_besides(self):
        line = json.loads(formatter("json").format(record("sold out", sku="CUP", left=0)))

        self.assertTrue(line.pop("time").endswith("Z"))
        self.assertEqual(
            line,
            {"message": "sold out", "level": "error", "logger": "shop", "sku": "CUP", "left": 0},
        )

    def test_is_one_line_in_either_form(self):
        for style in ("json", "console"):
            with self.subTest(style):
                line = formatter(style).format(record("a\r\nb\x85c\u2028d", sku="e\nf"))

                self.assertEqual(len(line.splitlines()), 1)

    def test_tells_what_json_cannot_hold(self):
        line = json.loads(formatter("json").format(record("huge", units=10**30, half="\ud800")))

        self.assertEqual(line["units"], 10**30)
        self.assertEqual(line["half"], "\ud800")

    def test_hides_the_values_that_postgresql_repeats(self):
        said = "duplicate key\nDETAIL:  Key (key)=(secret-7) exists.\nHINT: none"
        try:
            raise ValueError(said)
        except ValueError as failure:
            told = formatter("json").format(record(f"{failure}", exc_info=sys.exc_info()))

        self.assertNotIn("secret-7", told)
        self.assertIn("duplicate key", json.loads(told)["exception"])
        self.assertIn("HINT: none", json.loads(told)["message"])
