"""Every front end: command line, charts, print figures, report, explorer. Nothing imports this floor.

The command line (``mitral ...``) and scripts share it; each module is imported where it is needed:

>>> from mitral.apps.charts import accuracy
"""

if "." not in __name__:
    raise ImportError("this folder is part of the package mitral: write `import mitral.apps`, not `import apps`.")
