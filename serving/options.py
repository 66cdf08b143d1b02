"""Options of the embedded server, with tensorflow_model_server's names, and their files."""

import dataclasses

import grpc

from serving import batching_options, config_protos
from tf_talkinghead.errors import InputError

# Largest request. A frame takes 544 bytes, and 26 KB more with a person's vector.
MAX_MESSAGE_BYTES = 16 << 20
LOOPBACK = ("localhost", "127.0.0.1", "::1", "[::1]")


@dataclasses.dataclass(frozen=True)
class ServerOptions:
    """Server options; names and defaults are tensorflow_model_server's, except `models`, `host`."""

    models: str = ""  # a models folder, watched for changes; everyone in it is served
    port: int = 8500  # 0: a free one
    rest_api_port: int = 0  # 0: no REST
    model_name: str = "default"
    model_base_path: str = ""
    model_config_file: str = ""
    model_config_file_poll_wait_seconds: float = 0.0  # 0: read once
    file_system_poll_wait_seconds: float = 1.0  # 0: read once
    # None, here and in the next line: on with `models`, otherwise off.
    enable_batching: bool | None = None
    enable_per_model_batching_parameters: bool | None = None
    batching_parameters_file: str = ""
    ssl_config_file: str = ""
    monitoring_config_file: str = ""
    grpc_max_threads: int = 0  # calls in progress at once; 0: four for each core
    grpc_channel_arguments: str = ""  # "name=value,..."
    allow_version_labels_for_unavailable_models: bool = False
    host: str = "localhost"  # the address to listen on; the default is reachable locally only

    @property
    def exposed(self):
        """Whether other machines can call this server without TLS."""
        return self.host not in LOOPBACK and not self.ssl_config_file


def batching_of(options, enabled):
    """The (BatchingOptions, threads, pool name) of the server-wide batching file."""
    if not options.batching_parameters_file:
        return batching_options.BatchingOptions(), None, batching_options.DEFAULT_POOL_NAME
    if not enabled:
        raise InputError("--batching_parameters_file is set without setting --enable_batching")
    path = options.batching_parameters_file
    proto = config_protos.parse_file(path, config_protos.BatchingParameters)
    threads = proto.num_batch_threads.value or None
    pool = proto.thread_pool_name.value or batching_options.DEFAULT_POOL_NAME
    return batching_options.options_from_proto(proto, path), threads, pool


def credentials_of(options):
    """The server credentials of `ssl_config_file`; None without one.

    Raises:
      InputError: the file cannot be read, or lacks a key, certificate or authority.
    """
    if not options.ssl_config_file:
        return None
    ssl = config_protos.parse_file(options.ssl_config_file, config_protos.SSLConfig)
    if not ssl.server_key or not ssl.server_cert:
        raise InputError(
            f"{options.ssl_config_file}: server_key and server_cert must hold PEM text"
        )
    if ssl.client_verify and not ssl.custom_ca:
        raise InputError(
            f"{options.ssl_config_file}: client_verify needs custom_ca, the PEM text of the "
            "authority that signs the clients' certificates"
        )
    return grpc.ssl_server_credentials(
        [(ssl.server_key.encode(), ssl.server_cert.encode())],
        root_certificates=ssl.custom_ca.encode() or None,
        require_client_auth=ssl.client_verify,
    )


def channel_arguments(text):
    """ "name=value,..." as gRPC options; a request's size is bounded unless it says otherwise."""
    arguments = {
        "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
        "grpc.max_send_message_length": -1,
        "grpc.so_reuseport": 0,  # a second server on the same port is an error
    }
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if not name or not value:
            raise InputError(f"--grpc_channel_arguments: expected name=value, got {part!r}")
        arguments[name] = int(value) if value.lstrip("-").isdigit() else value
    return list(arguments.items())
