"""Plain C: the network as one readable file, for whatever a C compiler can reach.

The file needs no library, takes no memory at run time and has its weights in it as constants:

- :mod:`~nnopt_course.transfer.targets.c.writer`: a network as C (the kernels are in ``kernels/``)
- :mod:`~nnopt_course.transfer.targets.c.memory`: which activations share which bytes
- :mod:`~nnopt_course.transfer.targets.c.compiler`: the C compiler, from PyPI
- :mod:`~nnopt_course.transfer.targets.c.build`: both, for any device
- :mod:`~nnopt_course.transfer.targets.c.native`: for this machine, a shared library
- :mod:`~nnopt_course.transfer.targets.c.wasm`: for browsers, WebAssembly
- :mod:`~nnopt_course.transfer.targets.c.cortex_m3`: for a microcontroller, run by an emulator

Every compiled file has the same interface, so that one
:mod:`~nnopt_course.transfer.targets.c.runner` serves all three::

    net_t net_input[];          float, or 8-bit integers
    net_t net_output[];
    void  net_predict(void);
    const char net_about[];     what this is, as JSON
"""
