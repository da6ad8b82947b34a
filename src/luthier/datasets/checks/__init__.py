"""The checks of a table of examples, one subject a module. A check gives findings and changes nothing."""
