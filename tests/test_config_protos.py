"""Text files written for TensorFlow Serving parse, with the public numbers on the wire."""

import pytest
from google.protobuf import text_format

from serving.config_protos import (
    BatchingParameters,
    MonitoringConfig,
    SSLConfig,
    parse_file,
)
from tf_talkinghead.errors import InputError

BATCHING = """
# as in TensorFlow Serving's batching guide
max_batch_size { value: 128 }
batch_timeout_micros { value: 0 }
max_enqueued_batches { value: 1000000 }
num_batch_threads { value: 8 }
thread_pool_name { value: "pool" }
allowed_batch_sizes: 64
allowed_batch_sizes: 128
pad_variable_length_inputs: true
"""


def test_a_batching_file_parses(tmp_path):
    file = tmp_path / "batching.config"
    file.write_text(BATCHING)
    proto = parse_file(file, BatchingParameters)
    assert proto.max_batch_size.value == 128 and proto.num_batch_threads.value == 8
    assert proto.HasField("batch_timeout_micros") and proto.batch_timeout_micros.value == 0
    assert not proto.HasField("max_execution_batch_size")
    assert proto.thread_pool_name.value == "pool" and list(proto.allowed_batch_sizes) == [64, 128]
    assert proto.pad_variable_length_inputs


def test_numbers_on_the_wire_are_the_public_ones():
    proto = BatchingParameters()
    proto.max_batch_size.value = 5
    proto.allowed_batch_sizes.append(3)
    # field 1, a message holding field 1 = 5; field 6, packed varints
    assert proto.SerializeToString() == b"\x0a\x02\x08\x05" + b"\x32\x01\x03"
    ssl = SSLConfig(server_key="k", server_cert="c", custom_ca="a", client_verify=True)
    assert ssl.SerializeToString() == b"\x0a\x01k\x12\x01c\x1a\x01a\x20\x01"
    monitoring = text_format.Parse(
        'prometheus_config { enable: true path: "/p" }', MonitoringConfig()
    )
    assert monitoring.SerializeToString() == b"\x0a\x06\x08\x01\x12\x02/p"


def test_a_bad_file_is_named_with_its_line(tmp_path):
    file = tmp_path / "batching.config"
    file.write_text("max_batch_size { value: 4 }\nmax_batches: 7\n")
    with pytest.raises(
        InputError, match=r"batching\.config: not a text BatchingParameters: 2:1.*max_batches"
    ):
        parse_file(file, BatchingParameters)
    with pytest.raises(InputError, match="cannot be read"):
        parse_file(tmp_path / "absent", SSLConfig)
