"""Plans: selection sets, compiled so that plain fields are completed fast. Knows no field by name."""
