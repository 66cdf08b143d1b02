"""REST server for model status (JSON) and the metrics page, with TensorFlow Serving's URLs.

`GET /v1/models/NAME`, `/v1/models/NAME/versions/V`, `/v1/models/NAME/labels/L`,
`/monitoring/prometheus/metrics`.
"""

import http.server
import json
import re
import threading

from google.protobuf import json_format
from tensorflow_serving.apis import model_pb2

from serving.metrics import CONTENT_TYPE
from serving.status import Code, StatusError
from tf_talkinghead.errors import InputError

_STATUS_PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d{1,18})|/labels/([^/:]+))?$")
_HTTP_CODES = {Code.NOT_FOUND: 404, Code.INVALID_ARGUMENT: 400}


class RestServer:
    """HTTP server on `port`; 0 disables it, and `metrics_path` None disables the metrics page."""

    def __init__(self, host, port, registry, metrics, metrics_path):
        self._registry, self._metrics, self._metrics_path = registry, metrics, metrics_path
        self._server, self._started = None, False
        if port:
            handler = type("Handler", (_Handler,), {"rest": self})
            try:
                self._server = http.server.ThreadingHTTPServer((host, max(port, 0)), handler)
            except OSError as error:
                raise InputError(
                    f"--rest_api_port={port}: cannot listen there ({error.strerror})"
                ) from error
            self._server.daemon_threads = True
        self.port = self._server.server_address[1] if self._server else 0

    def start(self):
        if self._server:
            self._started = True
            threading.Thread(target=self._server.serve_forever, name="rest", daemon=True).start()

    def stop(self):
        if self._server:
            if self._started:  # shutdown() would block if the loop had never run
                self._server.shutdown()
            self._server.server_close()

    def answer(self, path):
        """(HTTP status, content type, text) for a GET of `path`."""
        if self._metrics_path is not None and path == self._metrics_path:
            return 200, CONTENT_TYPE, self._metrics.page()
        match = _STATUS_PATH.fullmatch(path)
        if not match:
            return 404, "application/json", json.dumps({"error": f"Malformed request: GET {path}"})
        name, version, label = match.groups()
        spec = model_pb2.ModelSpec(name=name)
        if version:
            spec.version.value = int(version)
        elif label:
            spec.version_label = label
        try:
            response = self._registry.status(spec)
        except StatusError as error:
            return (
                _HTTP_CODES.get(error.code, 500),
                "application/json",
                json.dumps({"error": error.message}),
            )
        text = json_format.MessageToJson(
            response, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        return 200, "application/json", text


class _Handler(http.server.BaseHTTPRequestHandler):
    rest = None

    def do_GET(self):
        status, content_type, text = self.rest.answer(self.path.split("?")[0])
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        """Logs nothing, since metrics are read every few seconds."""
