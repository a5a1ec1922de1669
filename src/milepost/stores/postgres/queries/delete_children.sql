delete from {schema}.milepost_child as child where child.parent = $1
