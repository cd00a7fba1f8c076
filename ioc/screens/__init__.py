"""The screens for operators: described once, written for Phoebus (``.bob``) and for PyDM (``.ui``). Pure."""
