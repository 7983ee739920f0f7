"""No config.pbtxt: the model says itself what it takes."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(auto_complete_model_config):
        inputs = [
            {"name": "IN", "data_type": "TYPE_FP32", "dims": [2]},
            {"name": "MORE", "data_type": "TYPE_INT64", "dims": [-1], "optional": True},
        ]
        outputs = [{"name": "OUT", "data_type": "TYPE_FP32", "dims": [2]}]
        config = auto_complete_model_config.as_dict()
        input_names = [one["name"] for one in config["input"]]
        output_names = [one["name"] for one in config["output"]]
        for one in inputs:
            if one["name"] not in input_names:
                auto_complete_model_config.add_input(one)
        for one in outputs:
            if one["name"] not in output_names:
                auto_complete_model_config.add_output(one)
        auto_complete_model_config.set_max_batch_size(4)
        auto_complete_model_config.set_dynamic_batching()
        return auto_complete_model_config

    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(
                        "OUT", pb_utils.get_input_tensor_by_name(request, "IN").as_numpy() * 2
                    )
                ]
            )
            for request in requests
        ]
