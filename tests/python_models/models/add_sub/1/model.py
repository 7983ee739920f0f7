"""Sum and difference, the way every tutorial begins."""

import json

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.model_config = model_config = json.loads(args["model_config"])
        config0 = pb_utils.get_output_config_by_name(model_config, "OUTPUT0")
        config1 = pb_utils.get_output_config_by_name(model_config, "OUTPUT1")
        self.output0_dtype = pb_utils.triton_string_to_numpy(config0["data_type"])
        self.output1_dtype = pb_utils.triton_string_to_numpy(config1["data_type"])

    def execute(self, requests):
        responses = []
        for request in requests:
            in_0 = pb_utils.get_input_tensor_by_name(request, "INPUT0")
            in_1 = pb_utils.get_input_tensor_by_name(request, "INPUT1")
            out_0, out_1 = (
                in_0.as_numpy() + in_1.as_numpy(),
                in_0.as_numpy() - in_1.as_numpy(),
            )
            tensor_0 = pb_utils.Tensor("OUTPUT0", out_0.astype(self.output0_dtype))
            tensor_1 = pb_utils.Tensor("OUTPUT1", out_1.astype(self.output1_dtype))
            responses.append(pb_utils.InferenceResponse(output_tensors=[tensor_0, tensor_1]))
        return responses

    def finalize(self):
        print("Cleaning up...")
