"""The model without a key: rules that keep a to-do list and talk a little."""
