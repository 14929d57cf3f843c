"""The C++ sources, which ``dali_msda.build`` compiles."""
