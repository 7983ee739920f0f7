"""The server's log, by every level."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.logger = pb_utils.Logger
        self.logger.log("a line of no level")
        self.logger.log("a line of its level", self.logger.VERBOSE)

    def execute(self, requests):
        logger = self.logger
        logger.log_info("Info Msg!")
        logger.log_warn("Warning Msg!")
        logger.log_error("Error Msg!")
        logger.log_verbose("Verbose Msg!")
        text = np.array(["logged"], dtype=object)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("TEXT", text)]) for _ in requests]

    def finalize(self):
        self.logger.log_info("the last line")
