package compose

import "slices"

// allRows are the rows of all tables, for what has to hold of each of them.
func allRows() []conversion {
	return slices.Concat(
		dependsOnRows,
		hooksRows,
		extensionsRows,
		resourcesRows,
		deployRows,
		updateConfigRows,
		restartRows,
		restartOfServersRows,
		healthcheckRows,
		portsRows,
		portsThatOthersAskForRows,
		namesRows,
		networksRows,
		programRows,
		environmentRows,
		endRows,
		securityRows,
		volumesRows,
		bindMountsRows,
		dataFoldersRows,
		filesThatAreMissingRows,
		memoryVolumesRows,
		configsAndSecretsRows,
		swarmRows,
		scriptsRows,
		nodeFilesRows,
	)
}
