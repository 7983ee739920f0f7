"""The helpers of triton_python_backend_utils."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


def text_of(call):
    try:
        return str(call())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        kinds = (np.bool_, np.uint8, np.uint16, np.uint32, np.uint64, np.int8, np.int16, np.int32)
        kinds += (np.int64, np.float16, np.float32, np.float64, np.object_, np.bytes_)
        strings = np.array([[b"one", b""], ["two", "\u00e4"]], dtype=object)
        serialized = pb_utils.serialize_byte_tensor(strings)
        self.told = [
            text_of(lambda: pb_utils.get_input_config_by_name(config, "X")["data_type"]),
            text_of(lambda: pb_utils.get_input_config_by_name(config, "none")),
            text_of(lambda: pb_utils.get_output_config_by_name(config, "TEXT")["dims"]),
            text_of(lambda: pb_utils.get_output_config_by_name(config, "none")),
            text_of(lambda: pb_utils.using_decoupled_model_transaction_policy(config)),
            *(text_of(lambda kind=kind: pb_utils.numpy_to_triton_type(kind)) for kind in kinds),
            *(
                text_of(lambda n=n: np.dtype(pb_utils.triton_to_numpy_type(n)).name)
                for n in range(1, 14)
            ),
            text_of(lambda: pb_utils.triton_string_to_numpy("TYPE_FP16").__name__),
            text_of(lambda: pb_utils.triton_string_to_numpy("TYPE_STRING").__name__),
            text_of(lambda: type(serialized).__name__),
            text_of(lambda: bytes(serialized).hex()),
            text_of(lambda: pb_utils.deserialize_bytes_tensor(bytes(serialized)).tolist()),
            text_of(lambda: pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START),
            text_of(lambda: pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END),
            text_of(lambda: pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL),
            text_of(lambda: pb_utils.TRITONSERVER_REQUEST_RELEASE_ALL),
            text_of(lambda: pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE),
        ]

    def execute(self, requests):
        text = np.array([json.dumps(self.told)], dtype=object)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("TEXT", text)]) for _ in requests]
