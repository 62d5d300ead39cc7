"""What every page shares: headers, the templates' context, navigation, error pages."""
