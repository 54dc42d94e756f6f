"""What every run needs: attempts, endings, and the ports of the record and the engine."""
