from misf_lite.cli import main

raise SystemExit(main())
